"""Serving: an application on a socket until a signal ends it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway import __version__
from gateway.anthropic.errors import ApiError
from gateway.app import make_app
from gateway.log import configure_logging
from gateway.settings import Settings, SettingsError
from gateway.translate.ids import new_request_id
from gateway.web.context import GATEWAY

# clients keep connections between the turns of a conversation
_KEEPALIVE_SECONDS: Final = 75.0

log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> int:
    """Serve until a signal comes, then give running answers their grace. Returns the exit code."""
    configure_logging(settings.log_level, settings.log_format)
    app = make_app(settings)
    async with listening(app, settings) as url:
        log.info("listening", url=url, backend=settings.backend_url.shown, version=__version__)
        app[GATEWAY].warm_up()
        await wait_for_signal()
        log.info("shutting down", streams=app[GATEWAY].keep_alive.streams, grace_secs=settings.shutdown_grace_secs)
    return 0


@contextlib.asynccontextmanager
async def listening(app: web.Application, settings: Settings) -> AsyncIterator[str]:
    """Serve `app` inside the block; gives the URL. On leaving it, running requests get their grace.

    Raises SettingsError when the address cannot be listened on.
    """
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=settings.shutdown_grace_secs)
    await runner.setup()
    try:
        server = await _bind(runner, settings)
        try:
            yield _url(server.sockets[0].getsockname())
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def _bind(runner: web.AppRunner, settings: Settings) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    manager = cast(web.Server, runner.server)  # there since the runner was set up

    def connected() -> Protocol:
        return Protocol(manager, loop=loop, keepalive_timeout=_KEEPALIVE_SECONDS)

    try:
        return await loop.create_server(connected, settings.host, settings.host_port, backlog=1024)
    except socket.gaierror as error:
        raise SettingsError(f"HOST={settings.host}: {error.strerror}") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(f"HOST={settings.host} HOST_PORT={settings.host_port}: {reason}") from None


class Protocol(web.RequestHandler):
    """aiohttp's server protocol, but what is no HTTP gets Anthropic's error, too, and is not logged: it may hold half
    a token.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that no handler has seen; it closes the connection."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        request_id = new_request_id()
        # behind the first colon the parser shows the bytes that it stumbled over
        reason = exc.message.partition(":")[0].strip()
        error = ApiError(exc.code, f"the request is not valid HTTP: {reason}")
        log.info("not valid HTTP", request_id=request_id, status=error.status, reason=reason)
        response = web.Response(
            status=error.status,
            body=error.body(request_id),
            content_type="application/json",
            headers={**error.headers(), "request-id": request_id},
        )
        response.force_close()
        return response


async def wait_for_signal() -> None:
    """Return at the first SIGINT or SIGTERM; the next one ends the process at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        # Windows has no such handlers: there Ctrl-C raises KeyboardInterrupt
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    await stop.wait()
    for number in signals:
        with contextlib.suppress(NotImplementedError):
            loop.remove_signal_handler(number)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end, on uvloop where there is one. Returns the exit code."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _url(address: Any) -> str:
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
