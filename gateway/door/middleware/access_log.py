"""One line for each finished request. No token, no prompt, no answer."""

import asyncio
import logging
import time
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.door.context import GATEWAY
from gateway.observability.metrics.recorder import METRICS
from gateway.observability.tracing.protocols import TRACER
from gateway.record.request_record import EXCHANGE, Exchange

# asked for every few seconds, and never what somebody looks for
_QUIET: Final = ("/health", "/ready", "/api/event_logging/")
# of a model's name: what a client sends may be as long as its request
_NAME_CHARACTERS: Final = 200

log = structlog.get_logger("gateway.access")


@web.middleware
async def access_log(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the exchange its id, and log how it went."""
    exchange, app = Exchange(), request.app
    request[EXCHANGE] = exchange
    if tracer := app.get(TRACER):
        exchange.trace = tracer.begin(request, exchange)
    status: int | None = None
    try:
        response = await handler(request)
    except asyncio.CancelledError:
        exchange.outcome = "client_gone"
        raise
    except ConnectionError:
        exchange.outcome = "client_gone"
        # aiohttp would log it as a fault of ours
        raise asyncio.CancelledError from None
    else:
        status = response.status
        return response
    finally:
        _write(request, exchange, status)
        if metrics := app.get(METRICS):
            metrics.request_ended(request, exchange, status)
        app[GATEWAY].history.note(request.path, exchange, status)
        if exchange.trace is not None:
            exchange.trace.end(exchange, status)
            exchange.trace = None


async def set_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """The `request-id` header, which clients show with an error; run as each response is prepared."""
    # aiohttp's own tells its version, and Python's
    response.headers["Server"] = "claude-gateway"
    if exchange := request.get(EXCHANGE):
        response.headers["request-id"] = exchange.request_id


def _write(request: web.Request, exchange: Exchange, status: int | None) -> None:
    level = logging.DEBUG if request.path.startswith(_QUIET) else logging.INFO
    logger = log.bind()
    if logger.is_enabled_for(level):
        logger.log(level, "request", **_fields(request, exchange, status))


def _fields(request: web.Request, exchange: Exchange, status: int | None) -> dict[str, Any]:
    """What is known of a request; each has a line, so what few lines have is added."""
    usage, first, renamed = exchange.usage, exchange.first_event, exchange.backend_model
    fields = {
        "request_id": exchange.request_id,
        "method": request.method,
        "path": request.path,
        "status": status,
        "outcome": exchange.outcome,
        "model": _cut(exchange.model),
        "stream": exchange.stream,
        "stop_reason": exchange.stop_reason,
        "input_tokens": usage.input_tokens if usage else None,
        "cached_tokens": usage.cache_read_input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "first_event_ms": None if first is None else round((first - exchange.started) * 1000, 1),
        "duration_ms": round((time.perf_counter() - exchange.started) * 1000, 1),
        "bytes_in": request.content_length,
        "bytes_out": exchange.sent or None,
    }
    if renamed != exchange.model:
        fields["backend_model"] = _cut(renamed)
    if exchange.client is not None:
        fields["client"] = exchange.client
    if exchange.retries:
        fields["retries"] = exchange.retries
    if exchange.error is not None:
        fields["error"] = exchange.error
    return {name: value for name, value in fields.items() if value is not None} if None in fields.values() else fields


def _cut(name: str | None) -> str | None:
    return name if name is None or len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}…"
