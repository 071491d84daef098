"""W3C trace context: what a client sends, and what the gateway passes on to the backend.

A request belongs to its client's trace whether or not the gateway exports spans: `traceparent` and `tracestate` are
passed on to the backend. They come from strangers and become lines of a request head, so `traceparent` is rebuilt from
the numbers in it, and `tracestate` is passed on only if all of it is well-formed. `baggage` is not passed on: it can
contain anything about users, and the backend may belong to somebody else.

Source: https://www.w3.org/TR/trace-context/, sections 3.2 (`traceparent`) and 3.3 (`tracestate`).
"""

import re
from typing import Final, Protocol

from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDictProxy

from gateway.anthropic.request import MessagesRequest

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_KEY: Final = r"(?:[a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13})"
_MEMBER: Final = re.compile(rf"({_KEY})=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]")
_MOST_MEMBERS: Final = 32
# the defined flags: sampled, random trace id
_FLAGS: Final = 0x03


class TraceContext(Struct, frozen=True):
    """A position in a trace. `state` is a `tracestate` in its shortest form, empty if there is none."""

    trace_id: int
    span_id: int
    flags: int
    state: str = ""

    def header_lines(self) -> bytes:
        """The header lines for a request, with their line ends."""
        lines = f"traceparent: 00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}\r\n"
        if self.state:
            lines += f"tracestate: {self.state}\r\n"
        return lines.encode("ascii")


class CallTrace(Protocol):
    """The trace's view of one call to the backend."""

    headers: bytes

    def answered(self, status: int) -> None:
        """The head of the answer has arrived."""

    def ended(self, error: BaseException | None) -> None:
        """The call is over; `error` is what ended it early, or None."""


class Trace(Protocol):
    """The trace that the calls of one request belong to."""

    def describe(self, request: MessagesRequest, *, model: str, profile: str) -> None:
        """Describe the next call: the backend's own name for the model, and the backend's profile."""

    def call(self) -> CallTrace:
        """A call begins."""

    def answering(self, data: bytes) -> None:
        """An answer begins with these bytes."""


class PassedOn:
    """A client's trace, which is passed on: the gateway adds nothing to it."""

    __slots__ = ("headers",)

    def __init__(self, headers: bytes) -> None:
        self.headers = headers

    def describe(self, request: MessagesRequest, *, model: str, profile: str) -> None:
        """Nothing is recorded."""

    def call(self) -> CallTrace:
        """All calls share the same headers."""
        return self

    def answering(self, data: bytes) -> None:
        """Nothing is recorded."""

    def answered(self, status: int) -> None:
        """Nothing is recorded."""

    def ended(self, error: BaseException | None) -> None:
        """Nothing is recorded."""


UNTRACED: Final = PassedOn(b"")

# the trace of a request that is recorded; for other requests, see `pass_on`
TRACE: Final = web.RequestKey("trace", Trace)


def trace_of(request: web.Request) -> Trace:
    """The request's own trace if it is recorded, otherwise the client's, which is passed on."""
    trace = request.get(TRACE)
    return pass_on(request.headers) if trace is None else trace


def pass_on(headers: CIMultiDictProxy[str]) -> PassedOn:
    """The trace that a client's request belongs to, if any."""
    context = read_context(headers) if "traceparent" in headers else None
    return UNTRACED if context is None else PassedOn(context.header_lines())


def read_context(headers: CIMultiDictProxy[str]) -> TraceContext | None:
    """The context in a request's headers; None if there is none or it is invalid."""
    parents = headers.getall("traceparent", ())
    match = _PARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # later versions may have more fields; version 00 has no others
    if version == "ff" or (more is not None and version == "00"):
        return None
    context = TraceContext(int(trace_id, 16), int(span_id, 16), int(flags, 16) & _FLAGS, _read_state(headers))
    return context if context.trace_id and context.span_id else None


def _read_state(headers: CIMultiDictProxy[str]) -> str:
    """All members of `tracestate`; empty if one of them is invalid."""
    given = (member.strip(" \t") for value in headers.getall("tracestate", ()) for member in value.split(","))
    members = [member for member in given if member]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    return ",".join(members) if len(keys) == len(members) <= _MOST_MEMBERS else ""
