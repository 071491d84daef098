"""The trace id of the current request, if it is traced: every log line about the request carries it."""

from contextvars import ContextVar
from typing import Final

TRACE_ID: Final = ContextVar("trace_id", default="")
