"""`GET /health` and `GET /ready`, and the probes that clients send before their first request."""

import time
from typing import Any

import msgspec
from aiohttp import web

from gateway.door.context import GATEWAY


async def health(request: web.Request) -> web.Response:
    """200 while the process serves. Never calls the backend. With several processes, any one answers for all."""
    gateway = request.app[GATEWAY]
    catalogue, workers = gateway.turns.catalogue, gateway.workers
    status: dict[str, Any] = {
        "status": "ok",
        "version": gateway.version,
        "uptime_seconds": round(time.monotonic() - gateway.started, 1),
        "backend": {
            "url": gateway.turns.backend.endpoint.shown,
            "models": len(catalogue.models) if catalogue.loaded else None,
        },
        "circuit_breaker": workers.breaker._asdict(),
        "streams": workers.streams,
    }
    if rows := workers.rows:
        status["workers"] = [
            {
                "pid": row.pid,
                "restarts": row.restarts,
                "streams": row.streams,
                "circuit_breaker": row.breaker._asdict(),
            }
            for row in rows
        ]
    return web.Response(body=msgspec.json.encode(status), content_type="application/json")


async def ready(request: web.Request) -> web.Response:
    """200 while requests can be answered; otherwise 503 with the reasons, so that load balancers use another gateway.

    The breaker is a reason if it refuses every model. One that waits for a trial counts as ready: load balancers would
    send no trial to a gateway that is not.
    """
    gateway = request.app[GATEWAY]
    breaker, models = gateway.turns.backend.breaker, gateway.turns.catalogue.models
    reasons = [
        reason
        for holds, reason in (
            (gateway.stopping.is_set(), "the gateway is being shut down"),
            (not gateway.turns.catalogue.reached, "the backend has not been reached yet"),
            (breaker.refuses_all(model.id for model in models), "the circuit breaker is open"),
        )
        if holds
    ]
    body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return web.Response(status=503 if reasons else 200, body=msgspec.json.encode(body), content_type="application/json")


async def hello(_: web.Request) -> web.StreamResponse:
    """200 with a hint: Claude Code sends `HEAD /` or `HEAD /api/hello` when it starts, and browsers send `GET /`."""
    return web.Response(text="claude-gateway: point ANTHROPIC_BASE_URL at this address\n")


async def drop(_: web.Request) -> web.Response:
    """204 for a client's telemetry, which the gateway discards."""
    return web.Response(status=204)
