"""Spans: one for each request for messages and, within it, one for each call to the backend.

    POST /v1/messages        SERVER, by OpenTelemetry's conventions for HTTP
      chat vendor/model-1    CLIENT, one try; by the conventions for generative AI, and for HTTP

A span gets its data and times from the request's record when the answer is over, so events of a stream cost nothing.
Tokens and models of the answer are attributes of the call only, since tools add them up over spans. No span contains a
prompt, an answer or a token; about an error, it contains what the log has.

The names are those of the package opentelemetry-semantic-conventions 0.66b2 (conventions 1.44.0), or `claude_gateway.*`
where it has none. They are written out because the package marks most of them as deprecated: the conventions for
generative AI have moved to their own repository.
"""

import time
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as OtelTracer
from opentelemetry.trace.span import TraceState

from gateway.anthropic.request import MessagesRequest
from gateway.backend.endpoint import Endpoint
from gateway.backend.trace_context import TRACE, CallTrace, TraceContext, read_context
from gateway.openai.chunk import answering_model
from gateway.record.api_paths import messages_path
from gateway.record.redaction import redactor_of_client
from gateway.record.request_record import RequestRecord
from gateway.record.trace_id import TRACE_ID
from gateway.translate.refusals.faults import BackendFault, kind_of

Value = str | int | float | bool | list[str]


# the longest value that a client or a backend may choose
_CHARACTERS: Final = 200
# profiles that have another name in the conventions, which call any provider of OpenAI's API `openai`
_PROVIDERS: Final[Mapping[str, str]] = {
    "generic": "openai",
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
}


class SpanTracer:
    """Starts spans with OpenTelemetry's `tracer`."""

    def __init__(self, tracer: OtelTracer, backend: Endpoint) -> None:
        self._tracer = tracer
        self._to_backend: dict[str, Value] = {
            "gen_ai.operation.name": "chat",
            "http.request.method": "POST",
            # without the query, which may contain a key
            "url.full": backend.shown,
            "server.address": backend.host,
            "server.port": backend.chat.port or 0,
        }

    def began(self, request: web.Request, record: RequestRecord) -> None:
        """Start the span of a request for messages or their token count, in the client's trace if it sent one."""
        resource = request.match_info.route.resource
        route = None if resource is None else messages_path(resource.canonical)
        if route is not None:
            request[TRACE] = request[_SPAN] = self._begin(request, record, route)

    def ended(self, request: web.Request, record: RequestRecord, status: int | None) -> None:
        """The request is over. `status` is None if the client left before it got a response."""
        if (span := request.get(_SPAN)) is not None:
            span.end(request, record, status)

    def _begin(self, request: web.Request, record: RequestRecord, route: str) -> "RequestSpan":
        clock = time.time_ns() - round(time.perf_counter() * 1e9)
        attributes: dict[str, Value] = {
            "http.request.method": _cut(request.method),
            "http.route": route,
            "url.path": _cut(request.path),
            "url.scheme": request.scheme,
            "claude_gateway.request_id": record.request_id,
        }
        if agent := request.headers.get("User-Agent"):
            attributes["user_agent.original"] = _cut(agent)
        span = self._tracer.start_span(
            f"{_cut(request.method)} {route}",
            context=_remote(read_context(request.headers)),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=clock + round(record.started * 1e9),
        )
        return RequestSpan(self._tracer, span, clock, self._to_backend)


class RequestSpan:
    """One request. `clock` plus `time.perf_counter` in nanoseconds gives nanoseconds since 1970."""

    __slots__ = ("_calls", "_clock", "_log", "_model", "_span", "_to_backend", "_tracer", "_within")

    def __init__(self, tracer: OtelTracer, span: Span, clock: int, to_backend: dict[str, Value]) -> None:
        self._tracer = tracer
        self._span = span
        self._clock = clock
        self._to_backend = to_backend
        self._within = set_span_in_context(span, Context())
        self._calls: list[CallSpan] = []
        # the model that the backend says it is
        self._model: str | None = None
        self._log = TRACE_ID.set(f"{span.get_span_context().trace_id:032x}")

    def describe(self, request: MessagesRequest, *, model: str, profile: str) -> None:
        """Set what the next calls ask for. `model` is the backend's name for it, `profile` the kind of backend."""
        asked: dict[str, Value | None] = {
            "gen_ai.provider.name": _PROVIDERS.get(profile, profile),
            "gen_ai.request.model": _cut(model),
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.top_p": request.top_p,
            "gen_ai.request.top_k": request.top_k,
            "gen_ai.request.stream": bool(request.stream),
        }
        self._to_backend = self._to_backend | {name: value for name, value in asked.items() if value is not None}

    def call(self) -> CallTrace:
        """A call begins. Call `describe` first."""
        attributes = self._to_backend
        if self._calls:
            attributes = attributes | {"http.request.resend_count": len(self._calls)}
        span = self._tracer.start_span(
            f"chat {attributes['gen_ai.request.model']}",
            context=self._within,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=self._now(),
        )
        call = CallSpan(span)
        self._calls.append(call)
        return call

    def answering(self, data: bytes) -> None:
        """The answer begins with these bytes, which may name the model."""
        self._model = answering_model(data)

    def end(self, request: web.Request, record: RequestRecord, status: int | None) -> None:
        """The request is over. `status` is None if the client left before it got a response."""
        TRACE_ID.reset(self._log)
        if self._span.is_recording():
            self._tell_answer(request, record)
            self._tell_request(record, status)
        for call in self._calls:
            call.span.end(end_time=self._at(call.ended_at) if call.ended_at else None)
        self._span.end(end_time=self._now())

    def _tell_answer(self, request: web.Request, record: RequestRecord) -> None:
        """Add the outcome of each call to its span, and the answer's data to the last one's: only the last call can
        have answered the client.
        """
        for call in self._calls:
            call.tell_outcome(request)
        if not self._calls:
            return
        span = self._calls[-1].span
        first, whole = record.first_content, record.answered
        if record.stream and (begun := first or whole) is not None:
            span.add_event("claude_gateway.first_token", timestamp=self._at(begun))
        if self._model is not None:
            span.set_attribute("gen_ai.response.model", _cut(self._model))
        usage = record.usage
        if usage is None or whole is None:
            return
        span.add_event("claude_gateway.end", timestamp=self._at(whole))
        span.set_attributes(
            {
                "gen_ai.response.finish_reasons": [record.stop_reason or ""],
                # the conventions include cached tokens; Anthropic does not
                "gen_ai.usage.input_tokens": usage.input_tokens
                + usage.cache_read_input_tokens
                + usage.cache_creation_input_tokens,
                "gen_ai.usage.cache_read.input_tokens": usage.cache_read_input_tokens,
                "gen_ai.usage.output_tokens": usage.output_tokens,
            }
        )

    def _tell_request(self, record: RequestRecord, status: int | None) -> None:
        span = self._span
        told: dict[str, Value | None] = {
            "http.response.status_code": status,
            "claude_gateway.outcome": record.outcome,
            "claude_gateway.request.model": _cut(record.model) if record.model else None,
        }
        span.set_attributes({name: value for name, value in told.items() if value is not None})
        # a stream that breaks off has already had its status 200; a client's fault is not an error of a SERVER span
        if status is not None and (status >= 500 or (status == 200 and record.outcome != "ok")):
            span.set_attribute("error.type", record.error_type or str(status))
            span.set_status(Status(StatusCode.ERROR, _cut(record.error or "")))

    def _now(self) -> int:
        return self._at(time.perf_counter())

    def _at(self, seconds: float) -> int:
        return self._clock + round(seconds * 1e9)


_SPAN: Final = web.RequestKey("span", RequestSpan)


class CallSpan:
    """One call. Its span ends together with the request's, when everything about it is known. `ended_at` is a time of
    `time.perf_counter`, or 0.0.
    """

    __slots__ = ("_failure", "_status", "ended_at", "headers", "span")

    def __init__(self, span: Span) -> None:
        place = span.get_span_context()
        context = TraceContext(place.trace_id, place.span_id, int(place.trace_flags), place.trace_state.to_header())
        self.span = span
        self.headers = context.header_lines()
        self.ended_at = 0.0
        self._status: int | None = None
        self._failure: tuple[str, str] | None = None

    def answered(self, status: int) -> None:
        """The response's status and headers have arrived."""
        self._status = status

    def ended(self, error: BaseException | None) -> None:
        """The call is over. Only a backend's fault counts as its failure: if the client left, the call did not fail."""
        self.ended_at = time.perf_counter()
        if isinstance(error, BackendFault):
            # not the exception itself: its traceback would keep frames alive
            self._failure = kind_of(error), "" if error.quotes else error.message

    def tell_outcome(self, request: web.Request) -> None:
        """Add the status and the failure to the span, without the client's token, which a backend may repeat."""
        if self._status is not None:
            self.span.set_attribute("http.response.status_code", self._status)
        if self._failure is not None:
            kind, message = self._failure
            self.span.set_attribute("error.type", kind)
            message = redactor_of_client(request).cut_parts(message)
            self.span.set_status(Status(StatusCode.ERROR, _cut(message)))


def _remote(client: TraceContext | None) -> Context:
    """An OpenTelemetry context whose current span is the client's."""
    if client is None:
        return Context()
    state = TraceState.from_header([client.state]) if client.state else None
    place = SpanContext(client.trace_id, client.span_id, True, TraceFlags(client.flags), state)
    return set_span_in_context(NonRecordingSpan(place), Context())


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"
