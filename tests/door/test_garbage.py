"""Nothing of a large request outlives it, whichever way the request ends: not even until the next garbage collection.

The collector is off. What a failure leaves in a reference cycle, through its traceback, stays, and is found.
"""

import asyncio
import contextlib
import gc
import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import END, HELLO, Answer, ScriptedBackend, ask, respond, silence, stream
from tests.http_connection import COMPLETION, Connect, Connection

MIB = 1024 * 1024
SIZE = 3 * MIB
# what else a request may leave: a pooled connection, caches, compiled patterns
MOST_LEFT = MIB // 2
ROUNDS = 2


def request(body: bytes, *fields: str, path: str = "/v1/messages") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "x-api-key: cpk_test", *fields]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def large(**fields: Any) -> bytes:
    """A body of which a part is cut out, and one of which every block is decoded."""
    blocks = [{"type": "text", "text": "x" * 2000} for _ in range(SIZE // 2000)]
    return json.dumps(ask(**{"messages": [{"role": "user", "content": blocks}], **fields})).encode()


WHOLE = large()
STREAMED = large(stream=True)
WRONG = large(max_tokens="many")
NO_JSON = WHOLE[:-2]
UNKNOWN = large(model="nobody")
PACKED = gzip.compress(WHOLE, 1)
ANSWER = respond(json.dumps(COMPLETION).encode())
BUSY = respond(b'{"error": {"message": "no"}}', status=400)


def packed(body: bytes) -> bytes:
    return request(body, "Content-Encoding: gzip")


# what the client sends; it reads the answer
REFUSED = {
    "JSON that is cut": request(NO_JSON),
    "a wrong type": request(WRONG),
    "a model that there is not": request(UNKNOWN),
    "gzip that is cut": packed(PACKED[:-9]),
    "gzip that is damaged": packed(PACKED[:-9] + b"damaged!!"),
    "gzip and more": packed(PACKED + b"and more"),
    "gzip that grows beyond the limit": packed(gzip.compress(bytes(9 * MIB), 1)),
    "a wrong type, to be counted": request(WRONG, path="/v1/messages/count_tokens"),
    "invalid framing": request(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    + b"%x\r\n%b\r\nzzz\r\n" % (SIZE, bytes(SIZE)),
}
# what the backend does
FAILING: dict[str, tuple[Answer, bytes]] = {
    "the backend refuses": (BUSY, request(WHOLE)),
    "the backend refuses a stream": (BUSY, request(STREAMED)),
    "the backend's answer makes no sense": (respond(b"[]"), request(WHOLE)),
    "the backend's stream makes no sense": (stream(b"data: []\n\n"), request(STREAMED)),
    "the backend breaks off its stream": (stream(*HELLO, cut=True), request(STREAMED)),
    "all goes well": (ANSWER, request(WHOLE)),
    "all goes well with a stream": (stream(*HELLO, *END), request(STREAMED)),
    "all goes well with a packed body": (ANSWER, packed(PACKED)),
}


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


async def nothing_is_left(before: int) -> None:
    """Fails, and names the lines that made what is left, if memory does not come back within some seconds."""
    try:
        async with asyncio.timeout(5):
            while tracemalloc.get_traced_memory()[0] > before + MOST_LEFT:  # noqa: ASYNC110  # memory tells nobody
                await asyncio.sleep(0.01)
    except TimeoutError:
        lines = tracemalloc.take_snapshot().statistics("lineno")[:8]
        pytest.fail("\n".join(map(str, lines)))


async def reconnect(connection: Connection) -> Connection:
    return Connection(*await asyncio.open_connection(*connection.writer.get_extra_info("peername")))


@pytest.mark.parametrize("case", REFUSED)
async def test_a_request_that_is_refused(case: str, connect: Connect) -> None:
    first = await connect(max_body_mib="8")

    async def round_() -> None:
        connection = await reconnect(first)
        assert (await connection.send(REFUSED[case]))[0] in (400, 404, 413)
        connection.writer.close()

    await goes_round(round_)


async def goes_round(round_: Callable[[], Any]) -> None:
    # the first one fills caches
    await round_()
    await asyncio.sleep(0.1)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(ROUNDS):
        await round_()
    await nothing_is_left(before)


@pytest.mark.parametrize("case", FAILING)
async def test_a_request_that_the_backend_answers(case: str, connect: Connect, scripted: ScriptedBackend) -> None:
    answer, sent = FAILING[case]
    first = await connect(backend_retries="0")

    async def round_() -> None:
        scripted.answers[:] = [answer] * 3
        scripted.requests.clear()
        connection = await reconnect(first)
        connection.writer.write(sent)
        assert await connection.reader.read()
        connection.writer.close()
        scripted.requests.clear()

    await goes_round(round_)


# what the client sends before it leaves, and what it waits for
LEAVES: dict[str, tuple[bytes, str]] = {
    "during the upload": (request(WHOLE)[:-20], "received"),
    "during the upload of a packed body": (packed(PACKED)[:-20], "received"),
    "while the backend is silent": (request(WHOLE), "asked"),
    "while the backend is silent about a stream": (request(STREAMED), "asked"),
    "at once": (request(STREAMED), "nothing"),
    "in the middle of the stream": (request(STREAMED), "content"),
}


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("case", LEAVES)
async def test_a_client_that_leaves(case: str, how: str, connect: Connect, scripted: ScriptedBackend) -> None:
    sent, awaited = LEAVES[case]
    first = await connect()

    async def round_() -> None:
        never = asyncio.Event()
        scripted.asked.clear()
        scripted.answers[:] = [stream(*HELLO, never) if awaited == "content" else silence(never)]
        connection = await reconnect(first)
        connection.writer.write(sent)
        await connection.writer.drain()
        if awaited == "received":
            # nobody tells when the gateway has read it
            await asyncio.sleep(0.1)
        elif awaited != "nothing":
            await scripted.asked.wait()
        if awaited == "content":
            await connection.reader.readuntil(b'"lo"')
        if how == "reset":
            connection.writer.transport.abort()
        else:
            connection.writer.close()
            with contextlib.suppress(ConnectionError):
                await connection.writer.wait_closed()
        if awaited in ("asked", "content"):
            await scripted.client_left.wait()
            scripted.client_left.clear()
        # the backend itself keeps what it was asked
        never.set()
        scripted.requests.clear()

    await goes_round(round_)
