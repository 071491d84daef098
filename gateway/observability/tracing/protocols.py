"""What handlers know of tracing; what records spans is loaded only where they are wanted (`configuration.py`)."""

from typing import Final, Protocol

from aiohttp import web

from gateway.anthropic.request import MessagesRequest
from gateway.backend.trace_context import Trace
from gateway.record.request_record import Exchange


class RequestTrace(Trace, Protocol):
    """A request, as its trace sees it."""

    def describe(self, request: MessagesRequest, *, model: str, profile: str) -> None:
        """What the backend is asked for, by its own name of the model, and what kind of backend it is."""

    def end(self, exchange: Exchange, status: int | None) -> None:
        """The request is over. `status` is None if the client left before it was told any."""


class Tracer(Protocol):
    """Begins the traces of requests."""

    def begin(self, request: web.Request, exchange: Exchange) -> RequestTrace | None:
        """None for requests that are not traced."""


TRACER: Final = web.AppKey("tracer", Tracer)
