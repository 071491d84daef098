"""Serving: an application on a socket until a signal ends it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog
from aiohttp import web

from gateway import __version__
from gateway.app import make_app
from gateway.log import configure_logging
from gateway.settings import Settings, SettingsError
from gateway.web.context import GATEWAY

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
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=settings.shutdown_grace_secs,
        keepalive_timeout=75,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.host_port, backlog=1024)
        try:
            await site.start()
        except socket.gaierror as error:
            raise SettingsError(f"HOST={settings.host}: {error.strerror}") from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise SettingsError(f"HOST={settings.host} HOST_PORT={settings.host_port}: {reason}") from None
        yield _url(runner.addresses[0])
    finally:
        await runner.cleanup()


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
