"""Turns tracing on or off by OpenTelemetry's standard environment variables.

`OTEL_TRACES_EXPORTER` names exporters; without it, an OTLP endpoint is enough. OpenTelemetry is imported only if spans
are wanted: its packages are an optional extra, and slow to import.

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
from gateway.record.redaction import Redactor
from gateway.record.request_record import RequestRecord

_EXPORTERS: Final = ("otlp", "console")
# the more specific one first
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# variables that the SDK reads as whole numbers; it does not start with any other value
_NUMBER: Final = re.compile(r"OTEL_(?:BSP_\w+|\w+_LIMIT)")
_PACKAGES: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


class TracingError(Exception):
    """The environment asks for traces that cannot be set up. The text names the variable and what is allowed."""


class Tracer(Protocol):
    """Traces requests. `Observers` calls both methods."""

    def began(self, request: web.Request, record: RequestRecord) -> None:
        """A request begins. From now on, `trace_of` returns its trace."""

    def ended(self, request: web.Request, record: RequestRecord, status: int | None) -> None:
        """The request is over. `status` is None if the client left before it got a response."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """Tracing is on, with these exporters."""

    exporters: tuple[str, ...]

    @contextlib.asynccontextmanager
    async def running(self, backend: Endpoint, redactor: Redactor) -> AsyncIterator[Tracer]:
        """Give a tracer for the duration of the block; on leaving, send the waiting spans, for at most two seconds.

        Call this in the process that serves, since threads do not survive a fork. Raises TracingError.
        """
        from gateway.observability.tracing.span_export import SpanExport
        from gateway.observability.tracing.spans import SpanTracer

        try:
            export = SpanExport(self.exporters, redactor)
        except ValueError as error:
            raise TracingError(f"OpenTelemetry's variables (OTEL_…) cannot be used: {error}") from None
        try:
            yield SpanTracer(export.tracer(), backend)
        finally:
            await export.close()


def load_tracing(environment: Mapping[str, str]) -> Tracing | None:
    """The tracing that the environment asks for, or None. Raises TracingError, rather than guess, for an unsupported
    value.
    """
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
            f"{switch} is set, but the packages for tracing are not installed: pip install 'claude-gateway[otel]', or "
            "set OTEL_TRACES_EXPORTER=none"
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
            f"{protocol}={_get(environment, protocol)}: must be http/protobuf, which collectors accept on port 4318"
        )
    endpoint = _first(environment, _ENDPOINTS)
    if endpoint and not _is_url(_get(environment, endpoint)):
        # not shown: it may contain a password
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
    """The name of the first variable that is set, or ""."""
    return next((name for name in names if _get(environment, name)), "")


def _get(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()
