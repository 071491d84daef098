"""Serving: an application on a socket until a signal ends it."""

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
from aiohttp.http_exceptions import HttpProcessingError

from gateway.anthropic.errors import ApiError
from gateway.anthropic.ids import new_request_id
from gateway.app import METRICS_URL, make_app
from gateway.door.context import GATEWAY
from gateway.interprocess.addresses import Address, address_errors, url_of
from gateway.observability.logs.configuration import configure_logging
from gateway.observability.tracing.configuration import Tracing
from gateway.serving.service_manager import report_listening, report_stopping
from gateway.serving.startup import tell_listening, tell_models
from gateway.settings import Settings

# clients keep connections between the turns of a conversation
_KEEPALIVE_SECONDS: Final = 75.0
# how long a client that speaks no HTTP may take to read that it does not
_LINGER_SECONDS: Final = 2.0
_BACKLOG: Final = 1024
# at shutdown, for requests that are no answers in progress
_LAST_SECONDS: Final = 2.0
# at shutdown, for the first request of clients that have connected
_FIRST_SECONDS: Final = 0.5
_FIRST_STEP_SECONDS: Final = 0.01

log = structlog.get_logger(__name__)


async def serve(settings: Settings, tracing: Tracing | None = None) -> int:
    """Serve until a signal comes, then give running answers their grace. Returns the exit code."""
    configure_logging(settings.log_level, settings.log_format)
    app = make_app(settings, tracing=tracing)

    def tell(url: str) -> None:
        more = {"metrics": app[METRICS_URL]} if METRICS_URL in app else {}
        tell_listening(settings, url, **more)
        report_listening(url, settings.backend_url.shown)
        tell_models(settings, app[GATEWAY].catalogue)

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
    """Serve `app` until `stopped` returns, then give running answers their grace. `on_listening` is told the URL.

    `sockets`, and what is raised, are those of `listening`.
    """
    async with listening(app, settings, sockets=sockets) as url:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stopped())
            # it must be listening to signals before anybody is told
            await asyncio.sleep(0)
            on_listening(url)
            app[GATEWAY].warm_up()
            _calm_collector()
        gateway = app[GATEWAY]
        gateway.stopping.set()
        answers, grace = gateway.in_flight.count, settings.shutdown_grace_secs
        log.info("shutting down", pid=os.getpid(), streams=answers, grace_secs=grace)
        # load balancers must see that /ready says no before connections are refused
        await asyncio.sleep(settings.shutdown_delay_secs)


def _calm_collector() -> None:
    """What the start made stays: the garbage collector need not look at it again, and need not look as often at what
    comes and goes with each request, hardly any of which is garbage that only it can find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@contextlib.asynccontextmanager
async def listening(
    app: web.Application, settings: Settings, *, sockets: Sequence[socket.socket] = ()
) -> AsyncIterator[str]:
    """Serve `app` inside the block; gives the URL. On leaving it, answers in progress get the grace that `app` gives
    them, other requests a moment.

    `sockets` are bound already; without them, the settings say where to listen. Raises SettingsError when the address
    cannot be listened on.
    """
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_LAST_SECONDS)
    connections: set[Protocol] = set()
    try:
        await runner.setup()
        servers = await _bind(runner, settings, sockets, connections)
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
        # a closed connection waits for its client to take the rest, and the loop for the connection
        for connection in list(connections):
            connection.abort()


async def _first_requests(connections: Collection["Protocol"]) -> None:
    """Wait a moment for the requests of clients that have connected and could no more be told to go elsewhere."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_SECONDS):
            while any(connection.is_new for connection in connections):  # noqa: ASYNC110  # events would cost each request
                await asyncio.sleep(_FIRST_STEP_SECONDS)


async def _bind(
    runner: web.AppRunner,
    settings: Settings,
    sockets: Sequence[socket.socket],
    connections: set["Protocol"],
) -> Sequence[asyncio.Server]:
    loop = asyncio.get_running_loop()
    manager = cast(web.Server, runner.server)  # there since the runner was set up

    def connected() -> Protocol:
        return Protocol(manager, loop=loop, connections=connections)

    with address_errors(Address(settings.host, settings.host_port)):
        if sockets:
            return [await loop.create_server(connected, sock=sock, backlog=_BACKLOG) for sock in sockets]
        return [await loop.create_server(connected, settings.host, settings.host_port, backlog=_BACKLOG)]


class Protocol(web.RequestHandler):
    """aiohttp's server protocol, but what is no HTTP gets Anthropic's error, too, and is not logged: it may hold half
    a token.

    A connection without a complete head of a request is closed after `keepalive_timeout` seconds, also one on which
    such a head comes slowly. Bodies stay packed: aiohttp would unpack what nobody reads, without letting others run.
    """

    __slots__ = ("_connection", "_connections", "_is_last", "_refused")

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        connections: set["Protocol"] | None = None,
        keepalive_timeout: float = _KEEPALIVE_SECONDS,
    ) -> None:
        """`connections` holds the protocol while the connection lasts."""
        super().__init__(manager, loop=loop, keepalive_timeout=keepalive_timeout, auto_decompress=False)
        self._connections = set() if connections is None else connections
        self._connection: asyncio.Transport | None = None
        self._is_last = False
        self._refused = False

    @property
    def is_new(self) -> bool:
        """Whether no request has come yet."""
        return not self._request_count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self._connection = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone."""
        self._connections.discard(self)
        super().connection_lost(exc)

    def finish(self) -> None:
        """Close the connection with the response to the request that is in progress; now, if none is."""
        self._is_last = True
        self.close()

    def close(self) -> None:
        """Close the connection. aiohttp's server also calls this on each, when it shuts down; the rest of a body would
        not be taken then.
        """
        if not self._is_last or (self._waiter is not None and not self._messages):
            super().close()

    def abort(self) -> None:
        """Drop the connection, and what the client has not taken."""
        if self._connection is not None:
            self._connection.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection. A body that turns out to be no HTTP ends there, with an error."""
        super().data_received(data)
        request = self._current_request
        if request is not None and self._messages and not request.content.is_eof():
            # no request can come before the end of this one's body: what came is the parser's error
            request.content.set_exception(web.RequestPayloadError())
            request.content.feed_eof()
            super().close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response, and close the connection if that is told to close. After a response to what is no HTTP, wait
        for the client to close.

        What it still sends is dropped: a connection that is closed with bytes unread is reset, and the response lost.
        """
        if self._is_last:
            resp.force_close()
        result = await super().finish_response(request, resp, start_time)
        if self._refused and self.transport is not None:
            super().close()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            # the client's leaving ends this earlier
            await asyncio.sleep(_LINGER_SECONDS)
        return result

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
        self._refused = True
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
    # closed, it is not complained about where there can be no loop
    with contextlib.closing(work), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
