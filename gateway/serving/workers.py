"""`WORKERS`: several processes that serve at one address.

On Linux, each has its own listening socket there, and the kernel spreads connections over them evenly (SO_REUSEPORT);
elsewhere they share one, and whichever is free accepts the next connection. What they know of each other is in the
scoreboard. Each has its own connections to the backend and its own circuit breaker.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.app import MetricsPlace, make_app, metrics_address
from gateway.door.context import GATEWAY
from gateway.interprocess.addresses import Address, beside, reserved, url_of
from gateway.interprocess.counters import CounterTable
from gateway.interprocess.scoreboard import Row, Scoreboard
from gateway.observability.logs.configuration import configure_logging
from gateway.observability.tracing.configuration import Tracing
from gateway.serving.descriptors import warn_of_low_limit
from gateway.serving.server import run, serve_until
from gateway.serving.service_manager import report_listening, report_stopping
from gateway.serving.startup import tell_listening, tell_models
from gateway.serving.supervisor import Place, Supervisor
from gateway.settings import Settings, SettingsError, make_redactor

_BALANCED: Final = sys.platform == "linux"
# workers end by themselves when their grace period is over; one that does not is stuck
_STUCK_SECONDS: Final = 5.0
_BEAT_SECONDS: Final = 1.0


def supervise(settings: Settings, tracing: Tracing | None = None) -> int:
    """Serve with `settings.workers` processes until a signal comes. Returns the exit code.

    Raises AddressError if the address cannot be listened on, SettingsError if the system cannot fork.
    """
    if not hasattr(os, "fork"):
        raise SettingsError(f"WORKERS={settings.workers}: must be 1 on this system, which cannot fork processes")
    redactor = make_redactor(settings)
    configure_logging(settings.log_level, settings.log_format, redactor=redactor)
    scoreboard = Scoreboard(settings.workers)
    with contextlib.ExitStack() as stack:
        sockets = stack.enter_context(reserved(Address(settings.host, settings.host_port), balanced=_BALANCED))
        counted = _reserve_metrics(settings, stack)

        def work(place: Place) -> int:
            row = scoreboard.row(place.number)
            row.begin(pid=os.getpid(), restarts=place.restarts)
            return run(_serve(settings, tracing, place, row, sockets, counted))

        def serving(pids: list[int]) -> None:
            url = url_of(sockets[0].getsockname())
            more = {"metrics": url_of(counted.sockets[0].getsockname()) + "/metrics"} if counted else {}
            tell_listening(settings, url, workers=pids, **more)
            warn_of_low_limit(settings.max_streams, settings.workers)
            report_listening(url, redactor.cut(settings.backend_url.shown))

        stop_seconds = settings.shutdown_delay_secs + settings.shutdown_grace_secs + _STUCK_SECONDS
        return Supervisor(
            work,
            settings.workers,
            stop_seconds=stop_seconds,
            on_serving=serving,
            on_stop=lambda: report_stopping(stop_seconds),
            on_death=lambda number: scoreboard.row(number).clear(),
            beats=lambda number: scoreboard.row(number).beats,
        ).run()


class _Counted(NamedTuple):
    """What the workers share for their metrics."""

    table: CounterTable
    sockets: Sequence[socket.socket]


def _reserve_metrics(settings: Settings, stack: contextlib.ExitStack) -> _Counted | None:
    address = metrics_address(settings)
    if address is None:
        return None
    return _Counted(CounterTable(settings.workers), stack.enter_context(reserved(address, balanced=_BALANCED)))


async def _serve(
    settings: Settings,
    tracing: Tracing | None,
    place: Place,
    row: Row,
    sockets: Sequence[socket.socket],
    counted: _Counted | None,
) -> int:
    metrics = MetricsPlace(counted.table.row(place.number), _own(counted.sockets)) if counted else None
    app = make_app(settings, row=row, metrics=metrics, tracing=tracing)

    def tell(_: str) -> None:
        place.report_serving()
        # the first worker speaks for all, and only once
        if place.number == place.restarts == 0:
            tell_models(settings, app[GATEWAY].turns.catalogue)

    beating = asyncio.create_task(_beat(row), name="heartbeat")
    await serve_until(
        lambda: _told_to_stop(place),
        app,
        settings,
        on_listening=tell,
        sockets=_own(sockets),
    )
    beating.cancel()
    return 0


async def _beat(row: Row) -> None:
    while True:
        row.beat()
        await asyncio.sleep(_BEAT_SECONDS)


def _own(sockets: Sequence[socket.socket]) -> Sequence[socket.socket]:
    return beside(sockets) if _BALANCED else sockets


async def _told_to_stop(place: Place) -> None:
    """Return when the supervisor closes the line, or at SIGTERM; later signals change nothing."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_reader(place.line.fileno(), stop.set)
    # a worker that is signalled alone is replaced; the handler stays, because a service manager signals the whole group
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    loop.remove_reader(place.line.fileno())
