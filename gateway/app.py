"""The one place where the parts are wired together."""

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from aiohttp import web

from gateway import __version__
from gateway.backend.adapter import Backend
from gateway.backend.breaker import Breaker
from gateway.backend.catalogue import Catalogue
from gateway.settings import Settings
from gateway.tokens.count import TokenCounter
from gateway.web.access_log import access_log, set_request_id
from gateway.web.auth import auth
from gateway.web.context import GATEWAY, Gateway
from gateway.web.documents import DocumentReader
from gateway.web.errors import errors
from gateway.web.keep_alive import KeepAlive
from gateway.web.routes import add_routes

# sessions with many images pass 16 MiB and could not go on (peers.md, section 0.1, 22)
_LARGEST_BODY: Final = 64 * 1024 * 1024

log = structlog.get_logger(__name__)


def make_app(settings: Settings, *, keep_alive: KeepAlive | None = None) -> web.Application:
    """The gateway as an aiohttp application. Serve it with `handler_cancellation=True`: a client that leaves must
    end its call to the backend. `keep_alive` has other times than the usual ones.
    """
    app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[access_log, errors, auth])
    add_routes(app)
    app.on_response_prepare.append(set_request_id)

    async def run(app: web.Application) -> AsyncIterator[None]:
        backend = Backend(settings.backend_url, _make_breaker(settings), silence_seconds=settings.backend_timeout_secs)
        counting = ThreadPoolExecutor(1, thread_name_prefix="counting")
        gateway = app[GATEWAY] = Gateway(
            version=__version__,
            started=time.monotonic(),
            backend=backend,
            catalogue=Catalogue(backend, model_map=settings.model_map, profile=settings.backend_profile),
            counter=TokenCounter(),
            counting=counting,
            documents=DocumentReader(),
            keep_alive=keep_alive or KeepAlive(open_after=settings.headers_grace_secs),
        )
        gateway.catalogue.start()
        gateway.keep_alive.start()
        yield
        await gateway.keep_alive.stop()
        await gateway.catalogue.stop()
        gateway.documents.close()
        counting.shutdown(wait=False, cancel_futures=True)
        await backend.close()

    app.cleanup_ctx.append(run)
    return app


def _make_breaker(settings: Settings) -> Breaker:
    return Breaker(
        enabled=settings.enable_circuit_breaker,
        fail_max=settings.circuit_breaker_fail_max,
        reset_seconds=settings.circuit_breaker_reset_secs,
        on_change=lambda old, new: log.warning("circuit breaker changed", old=old, new=new),
    )
