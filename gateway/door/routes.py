"""The API's paths and their handlers."""

from aiohttp import web

from gateway.door.body import leave_expectation
from gateway.door.health import drop, health, hello, ready
from gateway.door.messages import count_tokens, create_message
from gateway.door.models import get_model, list_models
from gateway.record.api_paths import PREFIXES


def add_routes(app: web.Application) -> None:
    """Add the routes of the API, in each form that clients ask for."""
    for prefix in PREFIXES:
        app.router.add_post(f"{prefix}/messages", create_message, expect_handler=leave_expectation)
        app.router.add_post(f"{prefix}/messages/count_tokens", count_tokens, expect_handler=leave_expectation)
        app.router.add_get(f"{prefix}/models", list_models)
        # model names may contain slashes
        app.router.add_get(f"{prefix}/models/{{id:.+}}", get_model)
    # Claude Code sends telemetry every second or two
    app.router.add_post("/api/event_logging/{rest:.+}", drop)
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/api/hello", hello)
