"""ChunkedBody in, content out, however the bytes are cut; what is not plain goes back."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backend.connection.chunked_body import ChunkedBody

END = b"0\r\n\r\n"


@dataclass
class Connection:
    """What `ChunkedBody` does to its transport, and what it gives back."""

    done: list[str] = field(default_factory=list)
    back: list[bytes] = field(default_factory=list)
    closing: bool = False

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return self.closing


def chunks_on(connection: Connection) -> ChunkedBody:
    return ChunkedBody(connection, connection.back.append)  # type: ignore[arg-type]


def chunked(*contents: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(content), content) for content in contents)


async def read_all(chunks: ChunkedBody) -> bytes:
    pieces = []
    while data := await chunks.read():
        pieces.append(data)
    return b"".join(pieces)


# as many as a burst brings
MANY = 30
CONTENTS = [b"data: {}\n\n", b"a" * 300, b"\r\n", b"x\r\n5\r\nhello\r\n", b"\r", b"\n", b"0\r\n\r\n", b"z"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize(
    "contents", [CONTENTS, CONTENTS * MANY, CONTENTS[:2] * MANY], ids=["few", "many", "many plain"]
)
async def test_contents_come_out_however_they_are_cut(size: int, contents: list[bytes]) -> None:
    connection = Connection()
    chunks = chunks_on(connection)
    data = chunked(*contents) + END
    for at in range(0, len(data), size):
        chunks.receive(data[at : at + size])
    assert await read_all(chunks) == b"".join(contents)
    assert chunks.ended
    assert connection.back == [b""]


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.sampled_from([1, MANY]),
    st.lists(st.integers(1, 60), max_size=30) | st.lists(st.integers(1, 6000), max_size=30),
)
@settings(max_examples=200, deadline=None, database=None)
def test_any_contents_cut_anywhere(contents: list[bytes], times: int, cuts: list[int]) -> None:
    async def check() -> None:
        chunks = chunks_on(Connection())
        data = chunked(*contents * times) + END
        for size in cuts:
            chunks.receive(data[:size])
            data = data[size:]
            if chunks.ended:
                break
        if data and not chunks.ended:
            chunks.receive(data)
        assert await read_all(chunks) == b"".join(contents * times)

    asyncio.run(check())


@pytest.mark.parametrize(
    "odd",
    [
        b"5;name=value\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"\r\nhello",
        b"5\nhello\n",
    ],
    ids=["an extension", "a sign", "a prefix", "no size", "bare line ends"],
)
@pytest.mark.parametrize(
    "before",
    [[], [b"first"], [b"first", b"second"], [b"content" * 20] * MANY],
    ids=["at once", "behind one", "behind two", "behind many"],
)
async def test_what_is_not_framed_plainly_goes_back_from_the_chunk_on(odd: bytes, before: list[bytes]) -> None:
    connection = Connection()
    chunks = chunks_on(connection)
    chunks.receive(chunked(*before) + odd + chunked(b"more"))
    assert await read_all(chunks) == b"".join(before)
    assert chunks.given_back
    assert connection.back == [odd + chunked(b"more")]


async def test_a_chunk_that_is_longer_than_it_said_is_an_error() -> None:
    connection = Connection()
    chunks = chunks_on(connection)
    chunks.receive(b"3\r\nabcd\r\n")
    assert await chunks.read() == b"abc"
    with pytest.raises(aiohttp.ClientPayloadError, match="longer than its size says"):
        await chunks.read()
    assert connection.done == ["abort"]


@pytest.mark.parametrize("content", [b"a", b"\r\n"], ids=["plain", "that look like framing"])
async def test_a_read_of_nothing_but_tiny_chunks_is_an_error(content: bytes) -> None:
    connection = Connection()
    chunks = chunks_on(connection)
    chunks.receive(chunked(*[content] * 4000))
    assert await chunks.read() == content * 4000
    chunks.receive(chunked(*[content] * 40_000))
    if content == b"a":
        # it was read before the check
        assert await chunks.read() == content * 40_000
    else:
        await chunks.read()
    with pytest.raises(aiohttp.ClientPayloadError, match="too small"):
        await chunks.read()
    assert connection.done[-1] == "abort"


@pytest.mark.parametrize("size", [1, 3, 64])
async def test_trailers_go_back_with_the_last_chunk(size: int) -> None:
    connection = Connection()
    chunks = chunks_on(connection)
    data = chunked(b"all") + b"0\r\nExpires: never\r\n\r\n"
    while data and not connection.back:
        chunks.receive(data[:size])
        data = data[size:]
    assert await read_all(chunks) == b"all"
    assert chunks.given_back
    assert b"".join(connection.back) + data == b"0\r\nExpires: never\r\n\r\n"


async def test_what_follows_the_end_goes_back() -> None:
    connection = Connection()
    chunks = chunks_on(connection)
    chunks.receive(chunked(b"all") + END + b"HTTP/1.1 200 OK\r\n")
    assert await read_all(chunks) == b"all"
    assert chunks.ended
    assert connection.back == [b"HTTP/1.1 200 OK\r\n"]


async def test_what_came_before_the_connections_end_is_read_first() -> None:
    chunks = chunks_on(Connection())
    chunks.receive(chunked(b"one", b"two") + b"5\r\nthr")
    chunks.fail(aiohttp.ClientPayloadError("gone"))
    assert await chunks.read() == b"onetwothr"
    with pytest.raises(aiohttp.ClientPayloadError, match="gone"):
        await chunks.read()


async def test_a_slow_reader_pauses_the_connection() -> None:
    connection = Connection()
    chunks = chunks_on(connection)
    for _ in range(3):
        chunks.receive(chunked(b"x" * 100_000))
    assert connection.done == ["pause"]
    assert len(await chunks.read()) == 300_000
    assert connection.done == ["pause", "resume"]


async def test_a_connection_that_is_gone_is_not_resumed() -> None:
    connection = Connection()
    chunks = chunks_on(connection)
    chunks.receive(chunked(b"x" * 200_000))
    connection.closing = True
    chunks.fail(aiohttp.ClientPayloadError("gone"))
    assert len(await chunks.read()) == 200_000
    assert connection.done == ["pause"]


async def test_a_relay_gives_each_read_until_it_is_enough() -> None:
    chunks = chunks_on(Connection())
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return data != b"enough"

    chunks.receive(chunked(b"before"))
    relaying = asyncio.create_task(chunks.relay(take))
    await asyncio.sleep(0)
    for content in (b"one", b"enough", b"more"):
        chunks.receive(chunked(content))
    await relaying
    assert taken == [b"before", b"one", b"enough"]
    assert await chunks.read() == b"more"


async def test_a_relay_that_has_had_enough_at_once_does_not_wait() -> None:
    chunks = chunks_on(Connection())
    chunks.receive(chunked(b"before"))
    await chunks.relay(lambda _: False)


@pytest.mark.parametrize("last", [END, b""], ids=["its end", "an error"])
async def test_a_relay_ends_with_the_answer(last: bytes) -> None:
    chunks = chunks_on(Connection())
    relaying = asyncio.create_task(chunks.relay(lambda _: True))
    await asyncio.sleep(0)
    chunks.receive(last) if last else chunks.fail(TimeoutError())
    await relaying
    if not last:
        with pytest.raises(TimeoutError):
            await chunks.read()


async def test_what_the_taker_raises_is_raised_by_the_relay() -> None:
    chunks = chunks_on(Connection())

    def take(_: bytes) -> bool:
        raise ValueError("no")

    relaying = asyncio.create_task(chunks.relay(take))
    await asyncio.sleep(0)
    chunks.receive(chunked(b"one"))
    with pytest.raises(ValueError, match="no"):
        await relaying
