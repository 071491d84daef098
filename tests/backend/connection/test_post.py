"""What goes over the wire to a backend, and what of its answers counts, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from gateway.backend.connection.post import FAILURES, Attempt, Post, Response
from gateway.backend.connection.read_timeouts import ReadTimeouts

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
MIB = 1024 * 1024

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def posting(
    serve: Serve, *, path: str = "/v1/chat/completions", limit: int = 0, answer: float = 5.0, send: float = 5.0
) -> AsyncIterator[tuple[Post, aiohttp.TCPConnector]]:
    """A `Post` to a server whose connections are given to `serve`."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connector = aiohttp.TCPConnector(limit=limit)
    watch = ReadTimeouts(5.0, shortest=min(answer, 5.0))
    async with aiohttp.ClientSession(connector=connector) as session:
        url = URL(f"http://127.0.0.1:{port}{path}")
        yield Post(session, url, watch, connect=0.1, send=send, answer=answer), connector
        await watch.stop()
    server.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def answering(*answers: bytes, seen: list[bytes]) -> Serve:
    """One answer for each request, on any connection."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while left:
                seen.append(await read_request(reader))
                writer.write(left.pop(0))
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return serve


async def body_of(response: Response) -> bytes:
    try:
        pieces = []
        while data := await response.read():
            pieces.append(data)
        return b"".join(pieces)
    finally:
        response.close()


async def test_a_request_on_the_wire() -> None:
    seen: list[bytes] = []
    async with posting(answering(OK, seen=seen), path="/v1/chat/completions?api-version=2024-10-21") as (post, _):
        response = await post(b'{"a":1}', b"Authorization: Bearer x\r\n", Attempt(), stream=False)
        assert (response.status, response.content_type, await body_of(response)) == (200, "application/json", b"{}")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    names = [field.partition(b": ")[0] for field in fields]
    assert line == b"POST /v1/chat/completions?api-version=2024-10-21 HTTP/1.1"
    assert names == [b"Host", b"User-Agent", b"Content-Type", b"Authorization", b"Content-Length"]
    assert body == b'{"a":1}'


async def test_a_connection_is_used_again_once_its_answer_has_been_read() -> None:
    seen: list[bytes] = []
    attempts = [Attempt(), Attempt()]
    async with posting(answering(OK, OK, seen=seen), limit=1) as (post, _):
        for attempt in attempts:
            assert await body_of(await post(b"{}", b"", attempt, stream=False)) == b"{}"
    assert [(attempt.reused, attempt.written, attempt.queued) for attempt in attempts] == [
        (False, True, False),
        (True, True, False),
    ]


async def test_one_that_is_closed_unread_is_not() -> None:
    seen: list[bytes] = []
    attempt = Attempt()
    begun = OK.replace(b"Length: 2", b"Length: 3")
    async with posting(answering(begun, OK, seen=seen)) as (post, _):
        (await post(b"{}", b"", Attempt(), stream=False)).close()
        assert await body_of(await post(b"{}", b"", attempt, stream=False)) == b"{}"
    assert not attempt.reused


async def test_what_comes_before_the_answer_is_no_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with posting(answering(early + OK, seen=[])) as (post, _):
        response = await post(b"{}", b"", Attempt(), stream=False)
        assert (response.status, await body_of(response)) == (200, b"{}")


async def test_a_large_body_arrives_whole() -> None:
    seen: list[bytes] = []
    body = bytes(range(256)) * (3 * MIB // 256)
    attempt = Attempt()
    async with posting(answering(OK, seen=seen)) as (post, _):
        assert await body_of(await post(body, b"", attempt, stream=False)) == b"{}"
    assert seen[0].endswith(b"\r\n\r\n" + body)
    assert attempt.written


async def test_an_answer_before_the_body_has_been_taken_closes_the_connection() -> None:
    ended = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(OK)
        await writer.drain()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        try:
            while await reader.read(MIB):
                pass
        except ConnectionError:
            pass
        ended.set()
        writer.close()

    attempt = Attempt()
    async with posting(refuse) as (post, _), asyncio.timeout(5):
        assert await body_of(await post(bytes(64 * MIB), b"", attempt, stream=False)) == b"{}"
        await ended.wait()
    assert not attempt.written


@pytest.mark.parametrize("size", [2, 64 * MIB], ids=["sent", "being sent"])
async def test_who_no_longer_waits_drops_the_connection(size: int) -> None:
    came, ended = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.set()
        try:
            while await reader.read(1024):
                pass
        except ConnectionError:
            pass
        ended.set()
        writer.close()

    async with posting(wait) as (post, _), asyncio.timeout(5):
        asking = asyncio.create_task(post(bytes(size), b"", Attempt(), stream=True))
        await came.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await ended.wait()


async def test_no_answer_in_time() -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()
        writer.close()

    attempt = Attempt()
    async with posting(wait, answer=0.05) as (post, _):
        with pytest.raises(TimeoutError):
            await post(b"{}", b"", attempt, stream=True)
    assert (attempt.written, attempt.stuck) == (True, False)


async def test_a_wait_for_one_of_few_connections() -> None:
    attempt = Attempt()
    begun = OK.replace(b"Length: 2", b"Length: 3")
    async with posting(answering(begun, seen=[]), limit=1) as (post, _):
        first = await post(b"{}", b"", Attempt(), stream=False)
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await post(b"{}", b"", attempt, stream=False)
        assert attempt.queued
        first.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"",
        b"HTT",
        b"HTTP/1.1 200 OK\r\nContent-Ty",
    ],
    ids=["another protocol", "a length that is none", "nothing", "a bit", "half a head"],
)
async def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with posting(serve) as (post, connector):
        with pytest.raises(FAILURES) as error:
            await post(b"{}", b"", Attempt(), stream=True)
        assert isinstance(error.value, HttpProcessingError | aiohttp.ServerDisconnectedError)
        assert not connector.closed


async def test_a_server_that_speaks_first_is_none() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()
        writer.close()

    async with posting(serve) as (post, connector):
        with pytest.raises(HttpProcessingError):
            await post(b"{}", b"", Attempt(), stream=True)
        assert not connector.closed


async def test_after_the_session_is_closed_nothing_is_sent() -> None:
    async with posting(answering(OK, seen=[])) as (post, connector):
        await connector.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(b"{}", b"", Attempt(), stream=False)
