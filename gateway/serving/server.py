"""Serves an application on a socket until a signal ends it."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from typing import Any, Final, cast

import structlog
from aiohttp import web

from gateway.app import METRICS_URL, make_app
from gateway.door.context import GATEWAY
from gateway.interprocess.addresses import Address, address_errors, url_of
from gateway.observability.logs.configuration import configure_logging
from gateway.observability.tracing.configuration import Tracing
from gateway.serving.descriptors import DescriptorLimit, warn_of_low_limit
from gateway.serving.memory_trim import trimmed
from gateway.serving.process_signals import StraySignals, to_handle
from gateway.serving.protocol import ServerProtocol
from gateway.serving.service_manager import report_listening, report_stopping
from gateway.serving.startup import tell_listening, tell_models
from gateway.settings import Settings, make_redactor

_BACKLOG: Final = 1024
# at shutdown, for requests other than those for messages
_LAST_SECONDS: Final = 2.0
# at shutdown, for the first request of clients that have already connected
_FIRST_SECONDS: Final = 0.5
_FIRST_STEP_SECONDS: Final = 0.01

log = structlog.get_logger(__name__)


async def serve(settings: Settings, tracing: Tracing | None = None) -> int:
    """Serve until a signal comes, then give answers in progress their grace period. Returns the exit code."""
    redactor = make_redactor(settings)
    configure_logging(settings.log_level, settings.log_format, redactor=redactor)
    app = make_app(settings, tracing=tracing, redactor=redactor)

    def tell(url: str) -> None:
        more = {"metrics": app[METRICS_URL]} if METRICS_URL in app else {}
        tell_listening(settings, url, **more)
        warn_of_low_limit(settings.max_streams, workers=1)
        report_listening(url, redactor.cut(settings.backend_url.shown))
        tell_models(settings, app[GATEWAY].turns.catalogue)

    async def stopped() -> None:
        await wait_for_signal()
        report_stopping(settings.shutdown_delay_secs + settings.shutdown_grace_secs)

    await serve_until(stopped, app, settings, on_listening=tell)
    return 0


async def serve_until(
    stopped: Callable[[], Coroutine[Any, Any, None]],
    app: web.Application,
    settings: Settings,
    *,
    on_listening: Callable[[str], None],
    sockets: Sequence[socket.socket] = (),
) -> None:
    """Serve `app` until `stopped` returns, then give answers in progress their grace period.

    `on_listening` is called with the URL. For `sockets` and the errors raised, see `listening`.
    """
    async with listening(app, settings, sockets=sockets) as url, trimmed():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stopped())
            # signals must be handled before anybody learns that the gateway listens
            await asyncio.sleep(0)
            on_listening(url)
            app[GATEWAY].warm_up()
            _calm_collector()
        gateway = app[GATEWAY]
        gateway.stopping.set()
        answers, grace = gateway.in_flight.count, settings.shutdown_grace_secs
        log.info("shutting down", pid=os.getpid(), streams=answers, grace_secs=grace)
        # load balancers must see /ready fail before connections are refused
        await asyncio.sleep(settings.shutdown_delay_secs)


def _calm_collector() -> None:
    """Make the garbage collector ignore the objects made at start-up, which stay, and run less often: hardly any object
    of a request is garbage that only the collector can find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@contextlib.asynccontextmanager
async def listening(
    app: web.Application, settings: Settings, *, sockets: Sequence[socket.socket] = ()
) -> AsyncIterator[str]:
    """Serve `app` inside the block; yields the URL. On exit, answers in progress get the grace period that `app` gives
    them, other requests a moment.

    `sockets` are already bound; without them, the settings say where to listen. Raises AddressError if the address
    cannot be listened on.
    """
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_LAST_SECONDS)
    connections: set[ServerProtocol] = set()
    descriptors = DescriptorLimit()
    try:
        await runner.setup()
        servers = await _bind(runner, settings, sockets, connections, descriptors)
        try:
            yield url_of(servers[0].sockets[0].getsockname())
        finally:
            for server in servers:
                server.close()
            await _first_requests(connections)
            for connection in list(connections):
                connection.finish()
    finally:
        await runner.cleanup()
        # a closed connection waits for its client to read the rest, and the loop waits for the connection
        for connection in list(connections):
            connection.abort()
        descriptors.close()


async def _first_requests(connections: Collection["ServerProtocol"]) -> None:
    """Wait a moment for the first requests of clients that have connected and can no longer be sent elsewhere."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_SECONDS):
            while any(connection.is_new for connection in connections):  # noqa: ASYNC110  # events would cost each request
                await asyncio.sleep(_FIRST_STEP_SECONDS)


async def _bind(
    runner: web.AppRunner,
    settings: Settings,
    sockets: Sequence[socket.socket],
    connections: set["ServerProtocol"],
    descriptors: DescriptorLimit,
) -> Sequence[asyncio.Server]:
    loop = asyncio.get_running_loop()
    manager = cast(web.Server, runner.server)  # set by the runner's setup

    def connected() -> ServerProtocol:
        return ServerProtocol(manager, loop=loop, connections=connections, descriptors=descriptors)

    with address_errors(Address(settings.host, settings.host_port)):
        if sockets:
            return [await loop.create_server(connected, sock=sock, backlog=_BACKLOG) for sock in sockets]
        return [await loop.create_server(connected, settings.host, settings.host_port, backlog=_BACKLOG)]


async def wait_for_signal() -> None:
    """Return at the first SIGINT or SIGTERM, or when the terminal is closed. The next SIGINT or SIGTERM ends the
    process at once; other signals change nothing.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    stray = StraySignals(stop.set)
    for number in to_handle():
        loop.add_signal_handler(number, stray.received, number)
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        # Windows does not support such handlers: there, Ctrl-C raises KeyboardInterrupt
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    await stop.wait()
    for number in signals:
        with contextlib.suppress(NotImplementedError):
            loop.remove_signal_handler(number)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end, on uvloop if it is installed. Returns the exit code."""
    # closed, so that Python does not warn of an unawaited coroutine if no loop can be made
    with contextlib.closing(work), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
