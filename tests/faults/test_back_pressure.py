"""A client that does not read holds up its own backend, and nothing else: not the memory, not another's stream."""

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import END, TOKEN, ask, chunk
from tests.faults.conftest import Process, backend, serve, session, until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
MIB = 2**20
PIECE = 4096
# what the gateway may keep of a stream that its client does not read
GROWTH = 8 * MIB
WARM_UP = 4 * MIB
SHORT = 20 * MIB
LONG = 200 * MIB
STALL_SECONDS = 3.0
# between two events of the other stream, whose backend has one each 10 ms
LONGEST_GAP = 0.5


async def torrent(writer: asyncio.StreamWriter, size: int) -> None:
    """A stream of so many bytes of text, as fast as it is taken; each piece begins with its number."""
    writer.write(HEAD)
    for number in range(size // PIECE):
        writer.write(chunk({"content": f"{number:08}".ljust(PIECE, "x")}))
        await writer.drain()
    writer.write(b"".join(END))


async def trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    for number in itertools.count():
        writer.write(chunk({"content": f"{number} "}))
        await writer.drain()
        await asyncio.sleep(0.01)


def request(prompt: str) -> bytes:
    body = json.dumps(ask(prompt, stream=True)).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN['Authorization']}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def gaps(gateway: Process) -> AsyncIterator[float]:
    """The seconds between two events of a stream that trickles."""
    loop = asyncio.get_running_loop()
    async with session() as client:
        post = client.post(f"{gateway.url}/v1/messages", json=ask("trickle", stream=True), headers=TOKEN)
        async with post as response:
            before = loop.time()
            async for _ in response.content.iter_any():
                now = loop.time()
                yield now - before
                before = now


async def numbers(reader: asyncio.StreamReader) -> AsyncIterator[int]:
    """The numbers of the pieces of a torrent, each checked to be whole; the last one is -1 for a good end."""
    while not (line := await reader.readline()).startswith(b"event: message_stop"):
        assert line
        if line.startswith(b'data: {"type":"content_block_delta"'):
            text = json.loads(line[6:])["delta"]["text"]
            for start in range(0, len(text), PIECE):
                yield int(text[start : start + 8])
    yield -1


@dataclass
class Seen:
    """What came of the stream that trickles, and of the gateway's memory."""

    gaps: list[float] = field(default_factory=list)
    peak: int = 0

    async def watch(self, gateway: Process) -> None:
        async for gap in gaps(gateway):
            self.gaps.append(gap)
            self.peak = max(self.peak, gateway.rss)

    def restart(self, gateway: Process) -> None:
        self.gaps.clear()
        self.peak = gateway.rss


@pytest.mark.parametrize("size", [SHORT, pytest.param(LONG, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
async def test_a_stalled_client(size: int, tmp_path: Path) -> None:
    async with backend() as served, serve(tmp_path, BACKEND_URL=served.url) as gateway:

        async def answer(writer: asyncio.StreamWriter) -> None:
            body = await served.asked.get()
            await (trickle(writer) if b"trickle" in body else torrent(writer, WARM_UP if b"warm" in body else size))
            writer.close()

        served.handler = answer
        other = Seen()
        watching = asyncio.create_task(other.watch(gateway))
        await until(lambda: len(other.gaps) > 50, 5)
        # buffers that are made once are no growth
        async with (
            session() as client,
            client.post(f"{gateway.url}/v1/messages", json=ask("warm up", stream=True), headers=TOKEN) as response,
        ):
            assert (await response.read()).endswith(b'{"type":"message_stop"}\n\n')
        level = gateway.rss
        other.restart(gateway)
        reader, writer = await stalled_client(gateway)
        await asyncio.sleep(STALL_SECONDS)
        events, gap, grown = len(other.gaps), max(other.gaps), other.peak - level
        writer.transport.resume_reading()
        got = [number async for number in numbers(reader)]
        grown_in_all = other.peak - level
        writer.close()
        watching.cancel()
        await asyncio.wait([watching])

    print(f"{size / MIB:.0f} MiB: grew by {grown / MIB:.1f} MiB while stalled, {grown_in_all / MIB:.1f} MiB in all")
    print(f"the other stream: {events} events, {gap * 1000:.0f} ms between two at most")
    assert got == [*range(size // PIECE), -1]
    assert max(grown, grown_in_all) < GROWTH
    assert events > STALL_SECONDS * 20
    assert gap < LONGEST_GAP


async def test_a_stalled_client_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with backend() as served:

        async def answer(writer: asyncio.StreamWriter) -> None:
            await torrent(writer, SHORT)

        served.handler = answer
        # which sees to it that the process ends well, and soon
        async with serve(tmp_path, BACKEND_URL=served.url, SHUTDOWN_GRACE_SECS="0.2") as gateway:
            _, writer = await stalled_client(gateway)
            await served.asked.get()
            await asyncio.sleep(0.5)  # time for all buffers on the way to fill
        writer.close()


async def stalled_client(gateway: Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has asked for a torrent and reads on only when it is asked to."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=MIB)
    writer.transport.pause_reading()
    writer.write(request("torrent"))
    return reader, writer
