"""Spans on their way out: OpenTelemetry's SDK and exporters, and what is said when nobody takes the spans.

The SDK gathers spans and sends them from a thread of its own; its queue has an end, and what does not fit is dropped.
A collector that is away is told of once, and once when it is back: not with each batch, every few seconds.
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
from opentelemetry.trace import Tracer

from gateway import __version__

# at the end, for spans that are waiting
_FLUSH_SECONDS: Final = 2.0
_REASON_CHARACTERS: Final = 200

log = structlog.get_logger(__name__)


class SpanExport:
    """Sends spans to exporters by name. Names and all else come from the environment, by OpenTelemetry's names.

    Raises ValueError for a variable that the SDK cannot use.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._listener = _Listener()
        self._listener.install()
        try:
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            for name in names:
                exporter = _Otlp(self._listener) if name == "otlp" else ConsoleSpanExporter()
                self._provider.add_span_processor(BatchSpanProcessor(exporter))
        except ValueError:
            self._listener.remove()
            raise

    def tracer(self) -> Tracer:
        """What begins spans."""
        return self._provider.get_tracer("claude-gateway", __version__)

    async def close(self) -> None:
        """Send what is waiting, as far as that is possible in two seconds."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            # the loop does not wait for a thread that is late
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        # a daemon: the process ends without it
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await done.wait()
        except TimeoutError:
            log.warning("last traces not delivered", waited_secs=_FLUSH_SECONDS)
        self._listener.remove()


class _Otlp(SpanExporter):
    """The exporter to a collector. Tells when it begins to fail, and when it works again."""

    def __init__(self, listener: "_Listener") -> None:
        self._session = _Session()
        self._exporter = OTLPSpanExporter(session=self._session)
        self._listener = listener
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; a failure is no exception."""
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
        """Send nothing more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations


class _Session(requests.Session):
    """Keeps why a request failed: of that, the exporter tells nothing or too much."""

    problem = ""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request."""
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
    """Takes what OpenTelemetry logs. What exporters say is kept for the one line about it; all else is passed on, the
    first time that it is said.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reason = ""
        self._told: set[str] = set()
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = self._logger.propagate

    def install(self) -> None:
        """Stand in front of all other handlers."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def remove(self) -> None:
        """Let others have what is logged."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        """The standard library's hook."""
        message = record.getMessage()[:_REASON_CHARACTERS]
        if record.name.startswith("opentelemetry.exporter."):
            self.reason = message
        elif str(record.msg) not in self._told:
            self._told.add(str(record.msg))
            log.warning("traces", said=message)


def _resource() -> Resource:
    """The environment's, which may name the service."""
    resource = Resource.create({"service.version": __version__, "process.pid": os.getpid()})
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "claude-gateway"}))
    return resource
