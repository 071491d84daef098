"""Raw connections for the tests of this folder."""

from tests.http_connection import connect

__all__ = ["connect"]
