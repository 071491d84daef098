"""`WORKERS`: several processes that serve at one address.

On Linux each has a listening socket of its own there, and the kernel spreads connections over them evenly
(SO_REUSEPORT); elsewhere they share one, and who is free takes the next connection. What they know of each other is in
the scoreboard. Each has its own connections to the backend and its own circuit breaker.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import structlog

from gateway import __version__
from gateway.app import make_app
from gateway.log import configure_logging
from gateway.server import address_errors, run, serve_until, url_of
from gateway.settings import Settings, SettingsError
from gateway.supervisor import Place, Supervisor
from gateway.web.scoreboard import Row, Scoreboard

_BALANCED: Final = sys.platform == "linux"
# workers end themselves when their grace is over; one that does not is stuck
_STUCK_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


def supervise(settings: Settings) -> int:
    """Serve with `settings.workers` processes until a signal comes. Returns the exit code.

    Raises SettingsError when the address cannot be listened on, and where there are no such processes.
    """
    if not hasattr(os, "fork"):
        raise SettingsError(f"WORKERS={settings.workers}: must be 1 on this system, which cannot fork processes")
    configure_logging(settings.log_level, settings.log_format)
    scoreboard = Scoreboard(settings.workers)
    with _reserved(settings) as sockets:

        def work(place: Place) -> int:
            row = scoreboard.row(place.number)
            row.begin(pid=os.getpid(), restarts=place.restarts)
            return run(_serve(settings, place, row, sockets))

        def serving(pids: list[int]) -> None:
            backend = settings.backend_url.shown
            log.info("listening", url=url_of(sockets[0]), backend=backend, version=__version__, workers=pids)

        return Supervisor(
            work,
            settings.workers,
            stop_seconds=settings.shutdown_delay_secs + settings.shutdown_grace_secs + _STUCK_SECONDS,
            on_serving=serving,
            on_death=lambda number: scoreboard.row(number).clear(),
        ).run()


async def _serve(settings: Settings, place: Place, row: Row, sockets: Sequence[socket.socket]) -> int:
    await serve_until(
        lambda: _told_to_stop(place),
        make_app(settings, row=row),
        settings,
        on_listening=lambda _: place.report_serving(),
        sockets=_own(sockets) if _BALANCED else sockets,
    )
    return 0


async def _told_to_stop(place: Place) -> None:
    """Return when the supervisor ends the line, or when SIGTERM comes; more of these change nothing."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_reader(place.line.fileno(), stop.set)
    # sent to this process alone, it is replaced; the handler stays, for a service manager signals the whole group
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    loop.remove_reader(place.line.fileno())


@contextlib.contextmanager
def _reserved(settings: Settings) -> Iterator[Sequence[socket.socket]]:
    """A socket bound to each address of HOST, all to one port. On Linux they do not listen: they keep the port."""
    with contextlib.ExitStack() as stack:
        with address_errors(settings):
            sockets: list[socket.socket] = []
            port = settings.host_port
            for family, address in _addresses(settings.host):
                sock = stack.enter_context(_bound(family, (address[0], port, *address[2:])))
                port = sock.getsockname()[1]
                # only now: bound with it, a port that other workers listen on would seem to be free
                if _BALANCED:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                else:
                    sock.listen()
                sockets.append(sock)
        yield sockets


def _addresses(host: str) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _own(reserved: Sequence[socket.socket]) -> list[socket.socket]:
    return [_bound(sock.family, sock.getsockname(), shared=True) for sock in reserved]


def _bound(family: int, address: Any, *, shared: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # connections of an earlier process that are being closed do not hold the port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
