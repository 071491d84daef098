"""`GET /health`, and the probes that clients send before their first request."""

import time

import msgspec
from aiohttp import web

from gateway.web.context import GATEWAY


async def health(request: web.Request) -> web.Response:
    """200 while the process serves; never asks the backend."""
    gateway = request.app[GATEWAY]
    breaker = gateway.backend.breaker
    status = {
        "status": "ok",
        "version": gateway.version,
        "uptime_seconds": round(time.monotonic() - gateway.started, 1),
        "backend": {
            "url": gateway.backend.endpoint.shown,
            "models": len(gateway.catalogue.models) if gateway.catalogue.loaded else None,
        },
        "circuit_breaker": {"state": breaker.state, "failures": breaker.failures},
        "streams": gateway.keep_alive.streams,
    }
    return web.Response(body=msgspec.json.encode(status), content_type="application/json")


async def hello(_: web.Request) -> web.Response:
    """An empty 200: Claude Code asks for `HEAD /` or `HEAD /api/hello` at its start, and browsers for `GET /`."""
    return web.Response(text="claude-gateway: point ANTHROPIC_BASE_URL at this address\n")
