"""Streams taken from the connection itself, beside what stays with aiohttp, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.backend.adapter import Backend, Timeouts
from gateway.backend.endpoint import parse_endpoint
from gateway.backend.policy.breaker import Breaker
from gateway.backend.policy.retry import RetryPolicy
from gateway.translate.refusals.faults import BackendFault

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\none\r\n3\r\ntwo\r\n"
END = b"0\r\n\r\n"

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


def pieces(*written: bytes) -> Write:
    """Writes these pieces, each in a read of its own."""

    async def write(writer: asyncio.StreamWriter) -> None:
        for piece in written:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)

    return write


@asynccontextmanager
async def serving(*answers: Write, close: bool = False) -> AsyncIterator[tuple[Backend, list[int]]]:
    """A backend that gives these answers, and the numbers of requests on each of its connections."""
    connections: list[int] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(0)
        try:
            while left:
                await reader.readuntil(b"{}")
                connections[number] += 1
                await left.pop(0)(writer)
                if close:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    breaker = Breaker(enabled=False, fail_max=1, reset_seconds=1)
    timeouts = Timeouts(connect=5, send=5, answer=5, silence=5)
    backend = Backend(parse_endpoint(url), breaker, timeouts=timeouts, retry=RetryPolicy(retries=0))
    try:
        yield backend, connections
    finally:
        await backend.close()
        server.close()


async def ask(backend: Backend, *, stream: bool = True) -> bytes:
    async with await backend.chat(b"{}", token="", stream=stream) as call:
        received = await call.read_all()
        # the last bytes of the framing may be on their way
        await call.drain(1)
        return received


@pytest.mark.parametrize(
    "written",
    [
        [HEAD + CHUNKS + END],
        [HEAD, CHUNKS, END],
        [HEAD[:20], HEAD[20:-2], HEAD[-2:] + CHUNKS[:1], CHUNKS[1:], END],
        [HEAD + CHUNKS[:4], CHUNKS[4:9], CHUNKS[9:] + END[:1], END[1:3], END[3:]],
        [HEAD.lower().replace(b"http/1.1 200 ok", b"HTTP/1.1 200 OK"), CHUNKS + b"0\r\nX: trailer\r\n\r\n"],
        [HEAD + b"3\r\none\r\n", b"3;ext=1\r\ntwo\r\n" + END],
        [HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Length: 6") + b"one", b"two"],
        [HEAD.replace(b"text/event-stream", b"application/json") + CHUNKS, END],
        [HEAD.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\nX-Empty:\r\n\r\n") + CHUNKS + END],
        [HEAD.replace(b" OK", b"") + CHUNKS + END],
        [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, CHUNKS + END],
    ],
    ids=[
        "in one",
        "by its parts",
        "a head in pieces",
        "cut anywhere",
        "small letters",
        "an extension",
        "no chunks",
        "JSON",
        "other headers",
        "no reason",
        "behind a 100",
    ],
)
async def test_an_answer_comes_out_whole_and_its_connection_is_used_again(written: list[bytes]) -> None:
    async with serving(pieces(*written), pieces(HEAD + CHUNKS + END)) as (backend, connections):
        assert await ask(backend) == b"onetwo"
        assert await ask(backend) == b"onetwo"
        assert connections == [2]


@pytest.mark.parametrize(
    "written",
    [
        [HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + CHUNKS + END],
        [HEAD + CHUNKS + END + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"],
        [HEAD + CHUNKS + END, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"],
    ],
    ids=["that is to be closed", "with more behind the end", "with more, later"],
)
async def test_a_connection_is_not_used_again(written: list[bytes]) -> None:
    sent = asyncio.Event()

    async def write(writer: asyncio.StreamWriter) -> None:
        await pieces(*written)(writer)
        sent.set()

    async with serving(write, pieces(HEAD + CHUNKS + END)) as (backend, connections):
        assert await ask(backend) == b"onetwo"
        await sent.wait()
        for _ in range(3):
            # until what was sent behind the end has been read
            await asyncio.sleep(0)
        assert await ask(backend) == b"onetwo"
        assert connections == [1, 1]


async def test_a_stream_and_a_plain_answer_take_turns_on_one_connection() -> None:
    plain = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS + END
    async with serving(*[pieces(HEAD, CHUNKS, END), pieces(plain)] * 2) as (backend, connections):
        for stream in (True, False, True, False):
            assert await ask(backend, stream=stream) == b"onetwo"
        assert connections == [4]


async def test_what_came_with_the_connections_end_is_not_lost() -> None:
    async with (
        serving(pieces(HEAD + CHUNKS + b"5\r\nthr"), close=True) as (backend, _),
        await backend.chat(b"{}", token="", stream=True) as call,
    ):
        received = await call.read()
        while received != b"onetwothr":
            received += await call.read()
        with pytest.raises(BackendFault, match="broke off"):
            await call.read()


@pytest.mark.parametrize("chunks", [b"3\r\nonetwo\r\n", b"x\r\none\r\n"], ids=["too long", "no size"])
async def test_broken_framing_breaks_the_answer_off_at_once(chunks: bytes) -> None:
    async with serving(pieces(HEAD, chunks)) as (backend, _):
        with pytest.raises(BackendFault, match="broke off"):
            await ask(backend)


async def test_a_relay_and_reads_give_all_in_order() -> None:
    async with serving(pieces(HEAD, *[b"1\r\n%d\r\n" % number for number in range(9)], END)) as (backend, connections):
        async with await backend.chat(b"{}", token="", stream=True) as call:
            received = [await call.read()]

            def take(data: bytes) -> bool:
                received.append(data)
                return data[-1:] not in b"36"

            for _ in range(3):
                await call.relay(take)
            received.append(await call.read_all())
        assert b"".join(received) == b"012345678"
        assert connections == [1]
