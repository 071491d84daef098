"""W3C trace context: what of it a client sent, and what goes to the backend.

A request belongs to its client's trace whether or not the gateway exports spans: `traceparent` and `tracestate` go on
to the backend. A stranger wrote them, and they become lines of a request's head: `traceparent` is put together again
from the numbers in it, and `tracestate` goes on only if all of it has the form that it must have. `baggage` is not
passed on: it can hold anything of its users, and the backend may be somebody else's.

Source: W3C Trace Context, sections 3.2 (`traceparent`) and 3.3 (`tracestate`).
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
# those that are defined: sampled, random trace id
_FLAGS: Final = 0x03


class TraceContext(Struct, frozen=True):
    """A place in a trace. `state` is a `tracestate` in its shortest form, empty if there is none."""

    trace_id: int
    span_id: int
    flags: int
    state: str = ""

    def header_lines(self) -> bytes:
        """Lines of a request's head, with their ends."""
        lines = f"traceparent: 00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}\r\n"
        if self.state:
            lines += f"tracestate: {self.state}\r\n"
        return lines.encode("ascii")


class CallTrace(Protocol):
    """One call to the backend, as its trace sees it."""

    headers: bytes

    def answered(self, status: int) -> None:
        """The answer's head has come."""

    def ended(self, error: BaseException | None) -> None:
        """The call is over; `error` is what ended it before its time."""


class Trace(Protocol):
    """What the calls of one request are part of."""

    def describe(self, request: MessagesRequest, *, model: str, profile: str) -> None:
        """Say what the next call asks for: the backend's own name of the model, and the backend's profile."""

    def call(self) -> CallTrace:
        """A call begins."""

    def answering(self, data: bytes) -> None:
        """An answer begins with these bytes."""


class PassedOn:
    """The trace of somebody else: the gateway adds nothing to it."""

    __slots__ = ("headers",)

    def __init__(self, headers: bytes) -> None:
        self.headers = headers

    def describe(self, request: MessagesRequest, *, model: str, profile: str) -> None:
        """Nothing is recorded."""

    def call(self) -> CallTrace:
        """All calls are alike."""
        return self

    def answering(self, data: bytes) -> None:
        """Nothing is recorded."""

    def answered(self, status: int) -> None:
        """Nothing is recorded."""

    def ended(self, error: BaseException | None) -> None:
        """Nothing is recorded."""


UNTRACED: Final = PassedOn(b"")

# the trace of a request that is recorded; without it, see `pass_on`
TRACE: Final = web.RequestKey("trace", Trace)


def trace_of(request: web.Request) -> Trace:
    """The request's own trace where it is recorded, else the client's, which is passed on."""
    trace = request.get(TRACE)
    return pass_on(request.headers) if trace is None else trace


def pass_on(headers: CIMultiDictProxy[str]) -> PassedOn:
    """The trace that a client's request is part of, if it is part of any."""
    context = read_context(headers) if "traceparent" in headers else None
    return UNTRACED if context is None else PassedOn(context.header_lines())


def read_context(headers: CIMultiDictProxy[str]) -> TraceContext | None:
    """The context in a request's headers; None if there is none, or none that is valid, which counts as none."""
    parents = headers.getall("traceparent", ())
    match = _PARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # later versions may have more fields; this one has none
    if version == "ff" or (more is not None and version == "00"):
        return None
    context = TraceContext(int(trace_id, 16), int(span_id, 16), int(flags, 16) & _FLAGS, _read_state(headers))
    return context if context.trace_id and context.span_id else None


def _read_state(headers: CIMultiDictProxy[str]) -> str:
    """All members of `tracestate`, or nothing if one is wrong."""
    given = (member.strip(" \t") for value in headers.getall("tracestate", ()) for member in value.split(","))
    members = [member for member in given if member]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    return ",".join(members) if len(keys) == len(members) <= _MOST_MEMBERS else ""
