"""An OpenTelemetry collector that accepts OTLP over HTTP and keeps the spans."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_SECONDS = 10.0


@dataclass(frozen=True)
class Event:
    name: str
    time: int


@dataclass(frozen=True)
class Recorded:
    """A span; ids are in hexadecimal, times in nanoseconds since 1970."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[Event]
    failed: bool
    description: str
    resource: dict[str, Any]


@dataclass
class Collector:
    """`url` is the endpoint, `status` the status that it answers with, `raw` everything that it received."""

    url: str = ""
    status: int = 200
    spans: list[Recorded] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw.append(body)
        self.headers.append(dict(request.headers))
        if self.hold is not None:
            await self.hold.wait()
        if self.status == 200:
            self.spans += _read(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(status=self.status, body=answer, content_type="application/x-protobuf")

    async def until(self, holds: Callable[["Collector"], Any]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(_SECONDS):
            while not holds(self):  # noqa: ASYNC110  # spans come when the exporter's time is
                await asyncio.sleep(0.01)

    def of(self, kind: str) -> list[Recorded]:
        """The spans of a kind, in order of their start."""
        return sorted((span for span in self.spans if span.kind == kind), key=lambda span: span.start)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A listening collector."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with TestServer(app) as server:
        collector.url = str(server.make_url("/")).rstrip("/")
        yield collector


def _read(request: ExportTraceServiceRequest) -> list[Recorded]:
    return [
        _recorded(span, _attributes(group.resource.attributes))
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _recorded(span: Span, resource: dict[str, Any]) -> Recorded:
    return Recorded(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        state=span.trace_state,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=[Event(event.name, event.time_unix_nano) for event in span.events],
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        description=span.status.message,
        resource=resource,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, str(kind))
