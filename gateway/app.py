"""The one place where the parts are wired together."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import structlog
from aiohttp import web

from gateway import __version__
from gateway.anthropic.known_tools import KnownTools
from gateway.backend.adapter import Backend, Timeouts
from gateway.backend.models.catalogue import Catalogue
from gateway.backend.policy.breaker import Breaker
from gateway.backend.policy.retry import RetryPolicy
from gateway.documents.reader import DocumentReader
from gateway.door.body import BodyLimits, close_unread
from gateway.door.context import GATEWAY, Gateway
from gateway.door.keys import KeyRing
from gateway.door.middleware.access_log import access_log, set_request_id
from gateway.door.middleware.auth import auth
from gateway.door.middleware.errors import errors
from gateway.door.routes import add_routes
from gateway.interprocess.addresses import Address
from gateway.interprocess.counters import Counters, CounterTable
from gateway.interprocess.scoreboard import Row
from gateway.observability.metrics.listener import metrics_address, serving_metrics
from gateway.observability.metrics.loop_lag import watch_loop
from gateway.observability.metrics.recorder import METRICS, Metrics
from gateway.observability.status.access import StatusAccess
from gateway.observability.status.aggregate import Overview
from gateway.observability.status.feed import ACCESS, FEED, Feed
from gateway.observability.status.history import History
from gateway.observability.tracing.configuration import Tracing
from gateway.observability.tracing.protocols import TRACER
from gateway.record.in_flight import InFlight
from gateway.relay.keep_alive import KeepAlive
from gateway.settings import Settings, SettingsError
from gateway.tokens.count import TokenCounter

log = structlog.get_logger(__name__)


class MetricsPlace(NamedTuple):
    """A worker's counters, and the sockets for `/metrics`, bound already; none: METRICS_PORT is listened on."""

    counters: Counters
    sockets: Sequence[socket.socket] = ()


METRICS_URL: Final = web.AppKey("metrics_url", str)


def make_app(
    settings: Settings,
    *,
    keep_alive: KeepAlive | None = None,
    row: Row | None = None,
    metrics: MetricsPlace | None = None,
    tracing: Tracing | None = None,
) -> web.Application:
    """The gateway as an aiohttp application. Serve it with `handler_cancellation=True`: a client that leaves must
    end its call to the backend. `keep_alive` has other times than the usual ones. `row` is this process's place among
    others that serve with it, `metrics` what belongs to that place's metrics; `tracing` says where spans go.
    """
    try:
        keys = KeyRing(settings.gateway_api_keys, settings.gateway_api_keys_file)
    except ValueError as error:
        raise SettingsError(f"GATEWAY_API_KEYS_FILE={error}") from None

    app = web.Application(middlewares=[access_log, errors, auth(keys)])
    add_routes(app)
    app[ACCESS] = StatusAccess(settings.status_key)
    app.on_response_prepare.append(set_request_id)
    app.on_response_prepare.append(close_unread)

    async def run(app: web.Application) -> AsyncIterator[None]:
        backend = _make_backend(settings)
        counting = ThreadPoolExecutor(1, thread_name_prefix="counting")
        large = ThreadPoolExecutor(1, thread_name_prefix="large requests")
        gateway = app[GATEWAY] = Gateway(
            version=__version__,
            started=row.board.started if row else time.monotonic(),
            backend=backend,
            catalogue=Catalogue(backend, model_map=settings.model_map, profile=settings.backend_profile),
            limits=BodyLimits(settings.max_body_mib, settings.request_timeout_secs),
            known_tools=KnownTools(),
            counter=TokenCounter(),
            counting=counting,
            large=large,
            documents=DocumentReader(),
            keys=keys,
            stopping=asyncio.Event(),
            in_flight=InFlight(settings.max_streams),
            history=History(),
            keep_alive=keep_alive
            or KeepAlive(open_after=settings.headers_grace_secs, cut_after=settings.client_timeout_secs),
            scoreboard=row.board if row else None,
        )
        if row:
            _publish(gateway, row)
        overview = Overview(gateway, row.place if row else None)
        app[FEED] = Feed(overview.look, overview.prepare)
        publishing = asyncio.create_task(overview.publish(), name="status of this worker")
        gateway.catalogue.start()
        gateway.keep_alive.start()
        yield
        publishing.cancel()
        await asyncio.wait([publishing])
        await gateway.keep_alive.stop()
        await gateway.catalogue.stop()
        gateway.documents.close()
        for executor in (counting, large):
            executor.shutdown(wait=False, cancel_futures=True)
        await backend.close()

    async def drain(app: web.Application) -> None:
        await app[GATEWAY].in_flight.drain(settings.shutdown_grace_secs)
        # who watches sees the end
        await app[FEED].close()

    if tracing is not None:
        app.cleanup_ctx.append(_traced(tracing, settings))
    app.cleanup_ctx.append(run)
    if (address := metrics_address(settings)) is not None:
        place = metrics or MetricsPlace(CounterTable(1).row(0))
        app.cleanup_ctx.append(_measured(address, settings.max_streams, place))
    # no connection is taken any more, and idle ones are closed
    app.on_shutdown.append(drain)
    return app


def _measured(address: Address, most: int, place: MetricsPlace) -> Callable[[web.Application], AsyncIterator[None]]:
    """Count what `app` does, and serve `/metrics`, while it runs."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        # kept out of start-ups that do not want it
        from gateway.observability.metrics.exposition import Exposition

        gateway = app[GATEWAY]
        metrics = app[METRICS] = Metrics(place.counters, gateway.catalogue.has)
        gateway.backend.on_retry = metrics.backend_retried
        gateway.backend.breaker.on_fault = metrics.backend_failed
        gateway.backend.breaker.watch(metrics.breaker_changed)
        exposition = Exposition(place.counters.table, gateway, most)
        async with serving_metrics(exposition, address, place.sockets) as url:
            app[METRICS_URL] = url
            lag = asyncio.create_task(watch_loop(metrics.loop_lagged), name="loop lag")
            yield
            lag.cancel()
            await asyncio.wait([lag])

    return run


def _traced(tracing: Tracing, settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    """Record spans while `app` runs, and until the last answer has ended."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with tracing.running(settings.backend_url) as app[TRACER]:
            yield

    return run


def _publish(gateway: Gateway, row: Row) -> None:
    breaker = gateway.backend.breaker
    row.set_breaker(breaker.status)
    breaker.on_update = row.set_breaker
    gateway.in_flight.on_change = row.set_streams
    gateway.in_flight.others = lambda: row.board.streams - row.streams


def _make_backend(settings: Settings) -> Backend:
    return Backend(
        settings.backend_url,
        _make_breaker(settings),
        timeouts=Timeouts(
            connect=settings.connect_timeout_secs,
            send=settings.send_timeout_secs,
            answer=settings.backend_timeout_secs,
            silence=settings.silence_timeout_secs,
        ),
        retry=RetryPolicy(settings.backend_retries, settings.backend_retry_secs),
        connections=settings.backend_connections,
        key=settings.backend_api_key,
    )


def _make_breaker(settings: Settings) -> Breaker:
    return Breaker(
        enabled=settings.enable_circuit_breaker,
        fail_max=settings.circuit_breaker_fail_max,
        reset_seconds=settings.circuit_breaker_reset_secs,
        on_change=lambda old, new: log.warning("circuit breaker changed", old=old, new=new),
    )
