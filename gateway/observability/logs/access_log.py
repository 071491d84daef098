"""One log line for each finished request, without tokens, prompts or answers."""

import logging
import time
from typing import Any, Final

import structlog
from aiohttp import web

from gateway.record.request_record import RequestRecord

# the event of the line
REQUEST: Final = "request"
# requested every few seconds, and of no interest in a log
_QUIET: Final = ("/health", "/ready", "/api/event_logging/")
# the longest path or method shown: a client may send one as long as HTTP's limits allow
_NAME_CHARACTERS: Final = 200

log = structlog.get_logger("gateway.access")


def log_request(request: web.Request, record: RequestRecord, status: int | None) -> None:
    """Write the line. `status` is None if the client left before it got a response."""
    level = logging.DEBUG if request.path.startswith(_QUIET) else logging.INFO
    logger = log.bind()
    if logger.is_enabled_for(level):
        logger.log(level, REQUEST, **_fields(request, record, status))


def _fields(request: web.Request, record: RequestRecord, status: int | None) -> dict[str, Any]:
    """The fields of the line. Unknown values, and rarely used fields that say nothing, are left out."""
    usage, first, renamed = record.usage, record.first_event, record.backend_model
    fields = {
        "request_id": record.request_id,
        "method": _cut(request.method),
        "path": _cut(request.path),
        "status": status,
        "outcome": record.outcome,
        "model": record.model,
        "stream": record.stream,
        "stop_reason": record.stop_reason,
        "input_tokens": usage.input_tokens if usage else None,
        "cached_tokens": usage.cache_read_input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "first_event_ms": None if first is None else round((first - record.started) * 1000, 1),
        "duration_ms": round((time.perf_counter() - record.started) * 1000, 1),
        "bytes_in": request.content_length,
        "bytes_out": record.sent or None,
    }
    if renamed != record.model:
        fields["backend_model"] = renamed
    if record.client is not None:
        fields["client"] = record.client
    if record.retries:
        fields["retries"] = record.retries
    if record.error is not None:
        fields["error"] = record.error
    return {name: value for name, value in fields.items() if value is not None} if None in fields.values() else fields


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}…"
