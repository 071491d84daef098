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
from gateway.anthropic.tool_list_cache import KnownTools
from gateway.backend.adapter import Backend, Timeouts
from gateway.backend.models.catalogue import Catalogue
from gateway.backend.policy.breaker import Breaker
from gateway.backend.policy.retry import RetryPolicy
from gateway.documents.reader import DocumentReader
from gateway.door.body import BodyLimits, close_unread
from gateway.door.context import GATEWAY, Gateway
from gateway.door.health import hello
from gateway.door.keys import KeyRing
from gateway.door.memory import memory_mib
from gateway.door.middleware.auth import Sharing, auth
from gateway.door.middleware.errors import errors
from gateway.door.middleware.recording import recording, set_request_id
from gateway.door.routes import add_routes
from gateway.door.uploads import Uploads
from gateway.hosts import Hosts, is_loopback, own_hosts
from gateway.interprocess.across_workers import AcrossWorkers
from gateway.interprocess.addresses import Address
from gateway.interprocess.counters import Counters, CounterTable
from gateway.interprocess.scoreboard import Row
from gateway.observability.logs.access_log import log_request
from gateway.observability.logs.configuration import count_dropped
from gateway.observability.metrics.listener import serving_metrics
from gateway.observability.metrics.loop_lag import watch_loop
from gateway.observability.metrics.recorder import METRICS, Metrics
from gateway.observability.status.access import StatusAccess
from gateway.observability.status.aggregate import Sources, StateAggregator
from gateway.observability.status.feed import FEED, Feed
from gateway.observability.status.history import History
from gateway.observability.status.routes import add_status_routes
from gateway.observability.tracing.configuration import Tracing, TracingError
from gateway.record.in_flight import InFlight
from gateway.record.observers import OBSERVERS, Observers
from gateway.record.redaction import REDACTOR, Redactor
from gateway.relay.keep_alive import KeepAlive
from gateway.settings import Settings, SettingsError, make_redactor
from gateway.tokens.count import TokenCounter
from gateway.turn.context import TurnContext

log = structlog.get_logger(__name__)


class MetricsPlace(NamedTuple):
    """A worker's counters, and the sockets already bound for `/metrics`. Without sockets, METRICS_PORT is bound."""

    counters: Counters
    sockets: Sequence[socket.socket] = ()


# what is made of a body takes up to three times its memory
_PART_FOR_BODIES: Final = 4

METRICS_URL: Final = web.AppKey("metrics_url", str)


def make_app(
    settings: Settings,
    *,
    keep_alive: KeepAlive | None = None,
    row: Row | None = None,
    metrics: MetricsPlace | None = None,
    tracing: Tracing | None = None,
    redactor: Redactor | None = None,
) -> web.Application:
    """Build the gateway as an aiohttp application. Raises SettingsError.

    Serve it with `handler_cancellation=True`, so that a client that disconnects ends its call to the backend.
    `keep_alive` replaces the times from the settings. `row` is this process's row of the scoreboard if several workers
    serve, `metrics` its counters and sockets; `tracing` says where spans are exported.
    `redactor` cuts secrets out of what leaves; without it, one is made from the settings.
    """
    try:
        # of all places, one key gets half, and in each process its part of that
        share = -(-settings.max_streams // (2 * settings.workers))
        keys = KeyRing(settings.gateway_api_keys, settings.gateway_api_keys_file, share=share)
    except ValueError as error:
        raise SettingsError(f"GATEWAY_API_KEYS_FILE={error}") from None

    app = web.Application(middlewares=[recording, errors, auth(keys, _sharing(settings), _hosts(settings, keys))])
    app[OBSERVERS] = Observers(ended=[log_request])
    app[REDACTOR] = redactor or make_redactor(settings)
    add_routes(app)
    add_status_routes(app, StatusAccess(settings.status_key), otherwise=hello)
    app.on_response_prepare.append(set_request_id)
    app.on_response_prepare.append(close_unread)
    if tracing is not None:
        app.cleanup_ctx.append(_traced(tracing, settings))
    app.cleanup_ctx.append(_serving(settings, keep_alive, row))
    app.cleanup_ctx.append(_showing_status(keys, row))
    if (address := metrics_address(settings)) is not None:
        place = metrics or MetricsPlace(CounterTable(1).row(0))
        app.cleanup_ctx.append(_measured(address, settings.max_streams, place))

    async def drain(app: web.Application) -> None:
        await app[GATEWAY].in_flight.drain(settings.shutdown_grace_secs)
        # only now, so that open status pages see the shutdown
        await app[FEED].close()

    # by then, no connection is accepted any more, and idle ones are closed
    app.on_shutdown.append(drain)
    return app


def _sharing(settings: Settings) -> Sharing:
    if not settings.backend_api_key:
        return Sharing.NOBODY
    return Sharing.ANYONE if settings.allow_anyone else Sharing.THIS_MACHINE


def _hosts(settings: Settings, keys: KeyRing) -> Hosts | None:
    """The names for which requests are served; None for any: others than this machine must reach it, or show a key."""
    if not settings.allowed_hosts and (keys.used or not is_loopback(settings.host)):
        return None
    return Hosts(own_hosts(settings.host), settings.allowed_hosts)


_Run = Callable[[web.Application], AsyncIterator[None]]


def _serving(settings: Settings, keep_alive: KeepAlive | None, row: Row | None) -> _Run:
    """Run the parts that answer requests while the application runs."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        gateway = app[GATEWAY] = _make_gateway(settings, keep_alive, row)
        if row:
            _publish(gateway, row)
        turns = gateway.turns
        turns.catalogue.start()
        gateway.keep_alive.start()
        yield
        await gateway.keep_alive.stop()
        await turns.catalogue.stop()
        await turns.documents.close()
        for executor in (turns.counting, turns.large):
            executor.shutdown(wait=False, cancel_futures=True)
        await turns.backend.close()

    return run


def _make_gateway(settings: Settings, keep_alive: KeepAlive | None, row: Row | None) -> Gateway:
    backend = _make_backend(settings)
    turns = TurnContext(
        backend=backend,
        catalogue=Catalogue(backend, model_map=settings.model_map, profile=settings.backend_profile),
        documents=DocumentReader(),
        known_tools=KnownTools(),
        counter=TokenCounter(),
        counting=ThreadPoolExecutor(1, thread_name_prefix="counting"),
        large=ThreadPoolExecutor(1, thread_name_prefix="large requests"),
    )
    in_flight = InFlight(settings.max_streams)
    return Gateway(
        version=__version__,
        started=row.board.started if row else time.monotonic(),
        turns=turns,
        limits=BodyLimits(settings.max_body_mib, settings.request_timeout_secs, settings.upload_pause_secs),
        uploads=_make_uploads(settings),
        keep_alive=keep_alive
        or KeepAlive(open_after=settings.headers_grace_secs, cut_after=settings.client_timeout_secs),
        in_flight=in_flight,
        workers=AcrossWorkers(in_flight, backend.breaker, row.board if row else None),
        stopping=asyncio.Event(),
    )


def _make_uploads(settings: Settings) -> Uploads:
    """The limits of one process: each of several has its share."""
    mib = settings.max_bodies_mib or memory_mib() // _PART_FOR_BODIES
    processes = settings.workers
    return Uploads(-(-settings.max_uploads // processes), mib // processes, least_mib=settings.max_body_mib)


def _publish(gateway: Gateway, row: Row) -> None:
    """Publish this worker's streams and circuit breaker to the other workers."""
    breaker = gateway.turns.backend.breaker
    row.set_breaker(breaker.status)
    breaker.on_update = row.set_breaker
    gateway.in_flight.on_change = row.set_streams
    gateway.in_flight.others = lambda: row.board.streams - row.streams


def _showing_status(keys: KeyRing, row: Row | None) -> _Run:
    """Run the event feed while the application runs; with several workers, also publish this one's status."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        gateway, history = app[GATEWAY], History()
        app[OBSERVERS].ended.append(history.ended)
        aggregator = StateAggregator(
            Sources(
                version=gateway.version,
                started=gateway.started,
                backend_url=gateway.turns.backend.endpoint.shown,
                catalogue=gateway.turns.catalogue,
                in_flight=gateway.in_flight,
                history=history,
                workers=gateway.workers,
                stopping=gateway.stopping,
                needs_key=lambda: keys.used,
                slot=row.slot if row else None,
            )
        )
        app[FEED] = Feed(aggregator.look, aggregator.prepare, redactor=app[REDACTOR])
        publishing = asyncio.create_task(aggregator.publish(), name="status of this worker")
        yield
        publishing.cancel()
        await asyncio.wait([publishing])

    return run


def metrics_address(settings: Settings) -> Address | None:
    """The address at which `/metrics` is served; None if it is not served."""
    if settings.metrics_port is None:
        return None
    return Address(settings.metrics_host, settings.metrics_port, "METRICS_HOST", "METRICS_PORT")


def _measured(address: Address, most: int, place: MetricsPlace) -> _Run:
    """Count what the application does and serve `/metrics` while it runs."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        # imported only if metrics are on, to keep start-up fast
        from gateway.observability.metrics.exposition import Exposition

        gateway = app[GATEWAY]
        turns = gateway.turns
        metrics = app[METRICS] = Metrics(place.counters, turns.catalogue.has)
        app[OBSERVERS].ended.append(metrics.ended)
        count_dropped(metrics.line_dropped)
        turns.backend.on_retry = metrics.backend_retried
        turns.backend.breaker.on_fault = metrics.backend_failed
        turns.backend.breaker.watch(metrics.breaker_changed)
        exposition = Exposition(
            place.counters.table,
            version=gateway.version,
            catalogue=turns.catalogue,
            workers=gateway.workers,
            most=most,
        )
        async with serving_metrics(exposition, address, place.sockets) as url:
            app[METRICS_URL] = url
            lag = asyncio.create_task(watch_loop(metrics.loop_lagged), name="loop lag")
            yield
            lag.cancel()
            await asyncio.wait([lag])

    return run


def _traced(tracing: Tracing, settings: Settings) -> _Run:
    """Record spans while the application runs, until the last answer has ended."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        try:
            async with tracing.running(settings.backend_url, app[REDACTOR]) as tracer:
                app[OBSERVERS].began.append(tracer.began)
                app[OBSERVERS].ended.append(tracer.ended)
                yield
        except TracingError as error:
            raise SettingsError(str(error)) from None

    return run


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
        longest_answer=settings.max_answer_mib * 1024 * 1024,
        key=settings.backend_api_key,
    )


def _make_breaker(settings: Settings) -> Breaker:
    return Breaker(
        enabled=settings.enable_circuit_breaker,
        fail_max=settings.circuit_breaker_fail_max,
        reset_seconds=settings.circuit_breaker_reset_secs,
        trial_seconds=settings.circuit_breaker_trial_secs,
        on_change=lambda old, new: log.warning("circuit breaker changed", old=old, new=new),
    )
