"""File descriptors: each connection needs one, and a process may have only so many (RLIMIT_NOFILE).

Beyond the limit, event loops close new connections without a word or let them wait, and calls to the backend fail. So
the last descriptors are kept for calls: a client that would get one of them gets an error instead.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Final, cast

import structlog

from gateway.anthropic.errors import ApiError
from gateway.anthropic.ids import new_request_id

if sys.platform != "win32":
    import resource

log = structlog.get_logger(__name__)

# higher limits help nobody, and programs that try every descriptor below the limit take minutes
_ENOUGH: Final = 1 << 20
# for the backend and for clients: a stream has a connection to each
_FOR_EACH_STREAM: Final = 2
# besides streams: sockets to listen on, files, pipes, idle connections
_BESIDES: Final = 100
_MOST_RESERVED: Final = 64
_RESERVED_PART: Final = 8
# how often the log says that the limit is reached
_QUIET_SECONDS: Final = 60.0
# how long a refused client may take to send its request
_REFUSAL_SECONDS: Final = 1.0
_REMEDY: Final = "raise it: ulimit -n, LimitNOFILE= of a systemd unit, --ulimit nofile= of a container"


def hold_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams: a socket in their place would get what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # the lowest free descriptor is this one
            os.open(os.devnull, os.O_RDWR)


def raise_limit() -> None:
    """Raise this process's limit as far as its user may."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
        if soft != resource.RLIM_INFINITY and soft < most:
            # macOS refuses more than its kernel's own limit
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def warn_of_low_limit(streams: int, workers: int) -> None:
    """Log that a process may not have the descriptors that its share of MAX_STREAMS needs."""
    limit, needed = _limit(), -(-streams // workers) * _FOR_EACH_STREAM + _BESIDES
    if limit < needed:
        log.warning(
            "few file descriptors",
            reason=f"a process may have {limit} open (RLIMIT_NOFILE); MAX_STREAMS={streams} may need {needed}",
            remedy=f"{_REMEDY}; or lower MAX_STREAMS",
        )


def _limit() -> int:
    if sys.platform == "win32":
        return _ENOUGH
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


class DescriptorLimit:
    """Refuses clients while too few descriptors are free."""

    def __init__(self, limit: Callable[[], int] = _limit) -> None:
        """`limit` returns the current limit."""
        self._limit = limit
        self._refusals: set[_Refusal] = set()
        self._count = 0
        self._told = -_QUIET_SECONDS

    def refuses(self, transport: asyncio.Transport) -> bool:
        """Whether this new connection is one too many. If so, it gets its error, and the caller leaves it alone."""
        limit = self._limit()
        # the system gives out the lowest free number, so all lower ones are taken
        if _number(transport) < limit - min(_MOST_RESERVED, limit // _RESERVED_PART):
            return False
        self._count += 1
        now = time.monotonic()
        if now - self._told >= _QUIET_SECONDS:
            reason = f"this process may have {limit} open (RLIMIT_NOFILE), and new clients are refused"
            log.error("out of file descriptors", reason=reason, remedy=_REMEDY, refused=self._count)
            self._told, self._count = now, 0
        refusal = _Refusal(transport, self._refusals)
        transport.set_protocol(refusal)
        return True

    def close(self) -> None:
        """Drop the clients that have not yet read their error."""
        for refusal in list(self._refusals):
            refusal.abort()


class _Refusal(asyncio.Protocol):
    """Answers whatever a client sends with an error, and closes the connection."""

    def __init__(self, transport: asyncio.Transport, all_: set["_Refusal"]) -> None:
        self._transport = transport
        self._all = all_
        self._timer = asyncio.get_running_loop().call_later(_REFUSAL_SECONDS, self.abort)
        all_.add(self)

    def data_received(self, _: bytes) -> None:
        """The client's request, or a part of it."""
        if not self._transport.is_closing():
            self._transport.write(_response())
            self._transport.close()

    def connection_lost(self, _: BaseException | None) -> None:
        """The connection is closed."""
        self._timer.cancel()
        self._all.discard(self)

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()


def _number(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    return cast(int, sock.fileno()) if sock is not None else -1


def _response() -> bytes:
    request_id = new_request_id()
    error = ApiError(
        529,
        "this gateway has as many connections as it has file descriptors for (RLIMIT_NOFILE): try again in a moment",
        retry_after=2,
    )
    body = error.body(request_id)
    fields = {
        **error.headers(),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "request-id": request_id,
    }
    lines = [f"HTTP/1.1 {error.status} Overloaded", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
