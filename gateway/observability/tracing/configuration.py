"""Whether requests are traced: as OpenTelemetry's standard environment variables say.

`OTEL_TRACES_EXPORTER` names exporters; without it, an endpoint for OTLP is enough. Nothing of OpenTelemetry is loaded
before it is known that spans are wanted: its packages are an extra, and take time to load.

Source: OpenTelemetry's specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
"""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from gateway.backend.endpoint import Endpoint
from gateway.record.request_record import RequestRecord

_EXPORTERS: Final = ("otlp", "console")
# the more special one first
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# what the SDK reads as whole numbers, and would not start with else
_NUMBER: Final = re.compile(r"OTEL_(?:BSP_\w+|\w+_LIMIT)")
_PACKAGES: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


class TracingError(Exception):
    """Traces cannot be set up as the environment says; the text names the variable, and what is allowed."""


class Tracer(Protocol):
    """What a tracer tells of requests; both are for `Observers`."""

    def began(self, request: web.Request, record: RequestRecord) -> None:
        """A request begins: from now on `trace_of` gives its trace."""

    def ended(self, request: web.Request, record: RequestRecord, status: int | None) -> None:
        """The request is over. `status` is None if the client left before it was told any."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """That requests are traced, and by which exporters their spans leave."""

    exporters: tuple[str, ...]

    @contextlib.asynccontextmanager
    async def running(self, backend: Endpoint) -> AsyncIterator[Tracer]:
        """Begins spans, and sends them, inside the block; on leaving it, what is waiting is sent, for two seconds at
        most. To be called in the process that serves: threads do not survive a fork. Raises TracingError.
        """
        from gateway.observability.tracing.span_export import SpanExport
        from gateway.observability.tracing.spans import SpanTracer

        try:
            export = SpanExport(self.exporters)
        except ValueError as error:
            raise TracingError(f"OpenTelemetry's variables (OTEL_…) cannot be used: {error}") from None
        try:
            yield SpanTracer(export.tracer(), backend)
        finally:
            await export.close()


def load_tracing(environment: Mapping[str, str]) -> Tracing | None:
    """None where nothing is traced. Raises TracingError for what cannot be done, without a guess what was meant."""
    if _get(environment, "OTEL_SDK_DISABLED").lower() == "true":
        return None
    named = _get(environment, "OTEL_TRACES_EXPORTER")
    switch = "OTEL_TRACES_EXPORTER" if named else _first(environment, _ENDPOINTS)
    names = tuple(name.strip() for name in named.split(",") if name.strip()) or (("otlp",) if switch else ())
    if not names or names == ("none",):
        return None
    if not set(names) <= set(_EXPORTERS):
        raise TracingError(f"OTEL_TRACES_EXPORTER={named}: must be {', '.join(_EXPORTERS)} or none")
    if not _installed():
        raise TracingError(
            f"{switch} is set, but what traces need is not installed: pip install 'claude-gateway[otel]', or set "
            "OTEL_TRACES_EXPORTER=none"
        )
    for name, value in environment.items():
        if _NUMBER.fullmatch(name) and not re.fullmatch("[0-9]*", value.strip()):
            raise TracingError(f"{name}={value}: must be a whole number")
    if "otlp" in names:
        _check_otlp(environment)
    return Tracing(names)


def _check_otlp(environment: Mapping[str, str]) -> None:
    protocol = _first(environment, _PROTOCOLS)
    if protocol and _get(environment, protocol) != "http/protobuf":
        raise TracingError(
            f"{protocol}={_get(environment, protocol)}: must be http/protobuf, which collectors take at port 4318"
        )
    endpoint = _first(environment, _ENDPOINTS)
    if endpoint and not _is_url(_get(environment, endpoint)):
        # it may hold a password
        raise TracingError(f"{endpoint}: must be an http:// or https:// URL such as http://127.0.0.1:4318")


def _is_url(value: str) -> bool:
    try:
        url = urlsplit(value)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in _PACKAGES)
    except ModuleNotFoundError:
        return False


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first variable that is set; empty if none is."""
    return next((name for name in names if _get(environment, name)), "")


def _get(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()
