"""The trace id of the request that is being worked on, if it is traced: every log line about it carries the id."""

from contextvars import ContextVar
from typing import Final

TRACE_ID: Final = ContextVar("trace_id", default="")
