"""Sends spans through OpenTelemetry's SDK and exporters, and logs when nobody accepts them.

The SDK queues spans and sends them from a thread of its own; it drops spans that do not fit into the queue. The log has
one line when the collector becomes unreachable and one when it is back, not one for each batch every few seconds.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from typing import Any, Final

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace import Status, Tracer

from gateway import __version__
from gateway.record.redaction import Redactor

# the time to send waiting spans at shutdown
_FLUSH_SECONDS: Final = 2.0
_REASON_CHARACTERS: Final = 200
# different messages of OpenTelemetry that are passed on
_MOST_TOLD: Final = 100

log = structlog.get_logger(__name__)


class SpanExport:
    """Sends spans, without secrets, to the exporters in `names` (`otlp`, `console`). The SDK takes everything else from
    OpenTelemetry's environment variables.

    Raises ValueError for a variable that the SDK cannot use.
    """

    def __init__(self, names: Sequence[str], redactor: Redactor) -> None:
        self._listener = _Listener()
        self._listener.install()
        try:
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            for name in names:
                exporter = _Otlp(self._listener) if name == "otlp" else ConsoleSpanExporter()
                self._provider.add_span_processor(BatchSpanProcessor(_Redacting(exporter, redactor)))
        except ValueError:
            self._listener.remove()
            raise

    def tracer(self) -> Tracer:
        """OpenTelemetry's tracer, which starts spans."""
        return self._provider.get_tracer("claude-gateway", __version__)

    async def close(self) -> None:
        """Send the waiting spans, for at most two seconds."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            # a thread that finishes late may find the loop closed
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        # a daemon thread does not keep the process alive
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await done.wait()
        except TimeoutError:
            log.warning("last traces not delivered", waited_secs=_FLUSH_SECONDS)
        self._listener.remove()


class _Redacting(SpanExporter):
    """Cuts secrets out of spans, in the SDK's thread, whoever has put them there."""

    def __init__(self, exporter: SpanExporter, redactor: Redactor) -> None:
        self._exporter = exporter
        self._redactor = redactor

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        return self._exporter.export([self._without_secrets(span) for span in spans])

    def shutdown(self) -> None:
        """Stop sending."""
        self._exporter.shutdown()

    def _without_secrets(self, span: ReadableSpan) -> ReadableSpan:
        status, cut = span.status, self._redactor.cut
        return ReadableSpan(
            name=cut(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes={
                name: cut(value) if isinstance(value, str) else value for name, value in (span.attributes or {}).items()
            },
            events=span.events,
            links=span.links,
            kind=span.kind,
            # a message may have been cut in the middle of a secret
            status=Status(status.status_code, status.description and self._redactor.cut_parts(status.description)),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )


class _Otlp(SpanExporter):
    """The exporter to a collector. Logs when it begins to fail, and when it works again."""

    def __init__(self, listener: "_Listener") -> None:
        self._session = _Session()
        self._exporter = OTLPSpanExporter(session=self._session)
        self._listener = listener
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch. A failure is a result, not an exception."""
        self._session.problem = self._listener.reason = ""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                log.warning("traces not delivered", reason=self._session.problem or self._listener.reason)
            self._lost += len(spans)
        elif self._lost:
            log.info("traces delivered again", lost=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """Stop sending."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations


class _Session(requests.Session):
    """Remembers why a request failed, which the exporter reports too tersely or too verbosely."""

    problem = ""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, and remember its failure in `problem`."""
        try:
            response = super().send(request, **options)
        except requests.RequestException as error:
            self.problem = str(_first_cause(error))[:_REASON_CHARACTERS]
            raise
        if response.status_code >= 400:
            self.problem = f"{response.status_code} {response.reason}"
        return response


def _first_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


class _Listener(logging.Handler):
    """Handles what OpenTelemetry logs. Keeps the exporters' last message for the one line about a failure; passes every
    other message on, once.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reason = ""
        self._told: set[str] = set()
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = self._logger.propagate

    def install(self) -> None:
        """Take the messages instead of all other handlers."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def remove(self) -> None:
        """Give the messages back to the other handlers."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a record: logging's hook."""
        message = record.getMessage()[:_REASON_CHARACTERS]
        if record.name.startswith("opentelemetry.exporter."):
            self.reason = message
        elif (text := str(record.msg)[:_REASON_CHARACTERS]) not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(text)
            log.warning("traces", said=message)


def _resource() -> Resource:
    """The resource of the environment, which may name the service; the default name is `claude-gateway`."""
    resource = Resource.create({"service.version": __version__, "process.pid": os.getpid()})
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "claude-gateway"}))
    return resource
