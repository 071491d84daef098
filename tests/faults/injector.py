"""Faults on the wire: a TCP proxy that passes bytes on until it is told to spoil them.

    async with Injector(host, port) as injector:        # listens at injector.port, connects to host:port
        injector.arm(Fault("down", 120, reset))         # all connections from now on; arm(…, times=1): the next one
        …
        injector.disarm()                               # and drops the connections that are still there

A fault strikes one way of a connection, `up` (to the server) or `down` (to whoever connected), when byte `at` of that
way is about to go out: the bytes before it have gone out, each once. At -1 it strikes at once, as the connection
begins. What happens there:

    reset       both sides are reset (RST); what is under way is lost
    truncate    the way ends there, with a FIN, and the other way with it
    half_close  the way ends there, with a FIN; the other way goes on
    stall       nothing more goes that way, and nothing more is read from there: its sender is held up
    garbage     bytes that are no HTTP and no JSON come in between
    duplicate   the next 24 bytes go out twice
    drip        the rest goes out in pieces of 7 bytes, each a packet of its own
    slow        the rest is read in pieces of at most 64 KiB, with pauses of 5 ms

A connection that is refused never gets that far: `refusing()` stops listening for the time of a block.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Self

GARBAGE = b"\x00\xff\r\n{]}\r\n"
_PIECE = 64 * 1024
_DUPLICATE = 24
_DRIP = 7
_SLOW_SECONDS = 0.005
# what the kernel keeps for a proxy that does not read: little, so that its peer notices
_RECEIVE_BUFFER = 64 * 1024


@dataclass
class Way:
    """One way of one connection. `back` writes to its sender."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    back: asyncio.StreamWriter
    _next: bytes = b""

    async def read(self, size: int = _PIECE) -> bytes:
        """At most so many bytes; empty at the end."""
        if data := self._next[:size]:
            self._next = self._next[size:]
            return data
        return await self.reader.read(size)

    async def reaches(self, at: int) -> bool:
        """Pass on the bytes before byte `at`, and wait for that one. Whether it came."""
        while at > 0 and (data := await self.read(min(at, _PIECE))):
            at -= len(data)
            await self.write(data)
        if at == 0:
            self._next = await self.read()
        return at < 0 or bool(self._next)

    async def copy(self) -> None:
        """Pass on what comes, to the end."""
        while data := await self.read():
            await self.write(data)
        self.end()

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.writer.write_eof()


# gives whether the rest of the way is to be passed on
Act = Callable[[Way], Awaitable[bool]]


@dataclass(frozen=True)
class Fault:
    """What happens, on which way, at which byte; and not before `when` is set."""

    way: Literal["up", "down"]
    at: int
    act: Act
    when: asyncio.Event | None = None


async def reset(way: Way) -> bool:
    hang_up(way.writer)
    hang_up(way.back)
    return False


async def truncate(way: Way) -> bool:
    way.end()
    way.back.close()
    return False


async def half_close(way: Way) -> bool:
    way.end()
    await asyncio.Event().wait()
    return False


async def stall(_: Way) -> bool:
    await asyncio.Event().wait()
    return False


async def garbage(way: Way) -> bool:
    await way.write(GARBAGE)
    return True


async def duplicate(way: Way) -> bool:
    data = await way.read(_DUPLICATE)
    await way.write(data + data)
    return True


async def drip(way: Way) -> bool:
    while data := await way.read(_DRIP):
        await way.write(data)
        await asyncio.sleep(0)
    return True


async def slow(way: Way) -> bool:
    while data := await way.read(_PIECE):
        await way.write(data)
        await asyncio.sleep(_SLOW_SECONDS)
    return True


def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Injector:
    """The proxy. `struck` counts the connections that got a fault."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._fault: Fault | None = None
        self._left = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.struck = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()
        await self.disarm()

    def arm(self, fault: Fault, *, times: int = -1) -> None:
        """Spoil the connections that come, or only the next `times`."""
        self._fault, self._left, self.struck = fault, times, 0

    async def disarm(self) -> None:
        """Spoil nothing from now on, and drop the connections that are there."""
        self._fault = None
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Inside, connections are refused."""
        self._close()
        yield
        await self._listen()

    async def _listen(self) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.bind(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(self._connected, sock=sock)
        self.port = sock.getsockname()[1]

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="spoilt connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _draw(self) -> Fault | None:
        if self._fault is None or self._left == 0:
            return None
        self._left -= 1
        self.struck += 1
        return self._fault

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._draw()
        far = None
        try:
            far_reader, far = await asyncio.open_connection(*self._target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pass(Way(reader, far, writer), fault if fault and fault.way == "up" else None))
                ways.create_task(_pass(Way(far_reader, writer, far), fault if fault and fault.way == "down" else None))
        except* ConnectionError:
            hang_up(writer)
            if far is not None:
                hang_up(far)
        finally:
            writer.close()
            if far is not None:
                far.close()


async def _pass(way: Way, fault: Fault | None) -> None:
    if fault is not None and await way.reaches(fault.at):
        if fault.when is not None:
            await fault.when.wait()
        if not await fault.act(way):
            return
    await way.copy()
