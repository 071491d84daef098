"""Floods of odd bytes for each reader of what comes from outside: it takes them or refuses them in words, with work and
memory that grow no faster than the bytes do.
"""

import base64
import random
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.backend.connection.chunked_body import ChunkedBody
from gateway.documents.pdf import UnreadablePDF
from gateway.documents.pool import ReaderPool
from gateway.door.keys import KeyRing, parse_keys
from gateway.hosts import Hosts, parse_hosts
from gateway.openai.errors import read_error
from gateway.openai.models import decode_models
from gateway.openai.sse import SSEDecoder
from gateway.settings import SettingsError, load_settings
from gateway.tokens.images import image_tokens
from tests.documents.pdf_files import bomb, encoded, pdf

FUZZ = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# of a flood; a reader that looks at a byte as often as there are bytes would need hours
MOST_BYTES = 200_000
# of processor time, where some ten milliseconds are needed
SECONDS = 3.0
# of memory, for each byte and in all
BYTES_PER_BYTE, MORE_BYTES = 200, 4_000_000
LONGEST_WORDS = 5000


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Fails if the work inside takes more time or memory than `size` bytes may cost."""
    tracemalloc.start()
    began = time.thread_time()
    try:
        yield
        seconds = time.thread_time() - began
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < SECONDS, f"{size} bytes took {seconds:.1f} s"
    assert most < BYTES_PER_BYTE * size + MORE_BYTES, f"{size} bytes took {most} bytes"


def floods(morsels: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A few morsels, some of them very often."""
    morsel = st.sampled_from(morsels) | st.binary(max_size=8)
    times = st.sampled_from([1, 1, 2, 100, MOST_BYTES])
    parts = st.tuples(st.lists(morsel, min_size=1, max_size=3).map(b"".join), times)
    flood = parts.map(lambda part: part[0] * min(part[1], MOST_BYTES // max(1, len(part[0]))))
    return st.lists(flood, max_size=4).map(b"".join)


def text_floods(morsels: Sequence[str]) -> st.SearchStrategy[str]:
    return floods([morsel.encode() for morsel in morsels]).map(lambda data: data.decode("utf-8", "surrogateescape"))


def pieces(data: bytes, seed: int) -> list[bytes]:
    """The data as it may be read from a socket, in at most a thousand pieces."""
    dice, found, at = random.Random(seed), [], 0  # noqa: S311  # guards nothing
    while at < len(data):
        size = dice.choice([1, 7, 1000, 65536]) + len(data) // 1000
        found.append(data[at : at + size])
        at += size
    return found


KEY = "sk-team-canary-0001"


@FUZZ
@given(text_floods([KEY, f"{KEY} ", "name=a ", "requests=60 ", "requests=", "streams=1", "sha256:", "9", "٣", "f" * 64,
                    ",", "\n", "\r", "\u2028", "#", "\0", " ", "="]))  # fmt: skip
@example(f"{KEY} requests={'9' * 400}")
@example(f"{KEY} streams={'9' * 5000}")
@example(f"{KEY}\udcff")
def test_keys(text: str) -> None:
    with bounded(len(text)):
        try:
            keys = parse_keys(text)
        except ValueError as error:
            said = str(error)
            assert said.startswith("entry ") or said == "two entries have the same key"
            assert len(said) < 200
            assert "canary" not in said
        else:
            assert KeyRing(keys).find("no key at all") is None


HOST_FIELDS = ["Host", "X-Forwarded-Host", "Forwarded"]


@FUZZ
@given(
    fields=st.lists(
        st.tuples(
            st.sampled_from(HOST_FIELDS),
            text_floods(["host=", 'host="', ";host=", ';host="evil.example', ",", '"', "[", "]", ":", ".", "localhost",
                         "evil.example", "127.0.0.1", "0x7f", "1", "for=1.2.3.4", "\t", "@", "%", "::1"]),
        ),
        max_size=4,
    ),
    target=st.sampled_from(["/", "*", "//evil.example", "http://localhost/", "http://evil.example/", "evil.example"])
    | text_floods(["http://", "/", "?", "#", "@", ":", "localhost"]),
)  # fmt: skip
def test_hosts(fields: list[tuple[str, str]], target: str) -> None:
    hosts, headers = Hosts(["gateway"]), CIMultiDictProxy(CIMultiDict(fields))
    with bounded(len(target) + sum(len(value) for _, value in fields)):
        refused = hosts.refused(headers, target)
        assert hosts.refused(headers, target) == refused
    assert refused is None or not hosts.accept(refused)
    if refused is None:
        assert [host for host in headers.getall("Host", [""]) if not hosts.accept(host)] == []


@FUZZ
@given(text_floods(["*", "*.", ".", ",", "a", "lan", "[", "]", ":", "::1", " ", "\0", "é", "1.2.3.4"]))
def test_allowed_hosts(value: str) -> None:
    with bounded(len(value)):
        try:
            names = parse_hosts(value)
        except ValueError as error:
            assert str(error) == "must be a list of host names, such as llm.example,*.lan"  # noqa: PT017
        else:
            Hosts([], names).accept("evil.example")


@FUZZ
@given(floods([b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a", b"\xff\xd8", b"\xff", b"\xff\xe1\0\0", b"\xff\xc0\0\x0b",
               b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8X", b"II*\0\x08\0\0\0", b"MM\0*", b"P6\n", b"9", b"#", b"\n",
               b"<svg ", b"<?xml ", b"<!ENTITY a '&b;'>", b"BM", b"\0\0\0\x0cjP  ", b"\0\0\0\x18ftypheic", b"\0"]))  # fmt: skip
@example(b"P6\n" + b"9" * 100_000)
@example(b"\xff\xd8" + b"\0" * 100_000)
def test_images(content: bytes) -> None:
    url = "data:image/png;base64," + base64.b64encode(content).decode()
    with bounded(len(url)):
        # a conversation may hold hundreds
        for _ in range(20):
            assert 1 <= image_tokens(url) <= 1600


@FUZZ
@given(floods([b'{"data":[', b'{"id":"m",', b'{"id":"m"},', b'"created":', b"1e999", b"9", b"NaN", b"[", b"{", b'{"a":',
               b"]", b"}", b",", b'"', b"\\u", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b'"pricing":{"prompt":"0.1"}']))  # fmt: skip
@example(b'{"data":[{"id":"m","created":' + b"9" * 5000 + b"}]}")
@example(b'{"data":[' + b"[" * 100_000)
def test_model_lists(body: bytes) -> None:
    with bounded(len(body)):
        try:
            models = decode_models(body)
        except ValueError:
            return
    assert all(0 < len(model.id) <= 256 for model in models)


@FUZZ
@given(floods([b'{"error":', b'{"error":{"message":"x"', b'{"message":', b'{"metadata":{"raw":"', b"[", b"{", b'"', b"\\",
               b"]", b"}", b",", b"9", b"<html>", b" ", b"\n", b"\xff", b"\xef\xbb\xbf", b"NaN"]))  # fmt: skip
@example(b'{"error":' * 20_000)
@example(b'{"message":' + b"9" * 5000 + b"}")
def test_error_bodies(body: bytes) -> None:
    with bounded(len(body)):
        error = read_error(body)
    assert 0 < len(error.message) <= LONGEST_WORDS
    assert len(error.type) <= 200
    assert len(error.code) <= 200


@FUZZ
@given(stream=floods([b"data", b"data:", b"data: x\n\n", b"event: x\n", b":", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"x",
                      b"id: 1\n", b"\0"]), seed=st.integers(0, 9))  # fmt: skip
def test_streams_of_events(stream: bytes, seed: int) -> None:
    decoder, read = SSEDecoder(), 0
    parts = pieces(stream, seed)
    with bounded(len(stream)):
        for part in parts:
            read += sum(len(name) + len(data) for name, data in decoder.feed(part))
        read += sum(len(name) + len(data) for name, data in decoder.flush())
    assert read <= len(stream)
    # the next stream is read as ever
    assert SSEDecoder().feed(b"data: 1\n\n") == [(b"", b"1")]


class Transport:
    """A connection of which nothing is expected."""

    def pause_reading(self) -> None:
        """Nothing waits."""

    def resume_reading(self) -> None:
        """Nothing waits."""

    def abort(self) -> None:
        """It has no other end."""

    def is_closing(self) -> bool:
        return False


@FUZZ
@given(body=floods([b"5\r\nhello\r\n", b"1\r\nx\r\n", b"0\r\n\r\n", b"0\r\n", b"\r\n", b"\r", b"\n", b"f", b"ffffffff\r\n",
                    b"5;a=b\r\n", b"-1\r\n", b"A: b\r\n", b"00000005\r\nhello\r\n"]), seed=st.integers(0, 9))  # fmt: skip
async def test_chunked_bodies(body: bytes, seed: int) -> None:
    back: list[bytes] = []
    chunks = ChunkedBody(Transport(), back.append)  # type: ignore[arg-type]
    parts, read = pieces(body, seed), 0
    with bounded(len(body)), suppress(aiohttp.ClientPayloadError):
        for part in parts:
            if chunks.ended or chunks.given_back:
                break
            chunks.receive(part)
        if chunks.ended or chunks.given_back:
            while data := await chunks.read():
                read += len(data)
    assert read + sum(map(len, back)) <= len(body)


@FUZZ
@given(content=floods([b"HOST=", b"HOST_PORT=1\n", b"MAX_BODY_MIB=", b"9", b"BACKEND_API_KEY=canary", b"GATEWAY_API_KEYS=canary",
               b"export ", b"=", b"'", b'"', b"\\", b"${HOST}", b"$", b"\n", b"\r", b"#", b" ", b"\0", b"\xff"])
       .map(lambda data: data[:20_000]))  # fmt: skip
@example(content=b"MAX_BODY_MIB=" + b"9" * 5000)
@example(content=b"HOST=0.0.0.0\nGATEWAY_API_KEYS=canary-canary-canary requests=" + b"9" * 5000)
def test_dotenv(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    with bounded(len(content)):
        try:
            load_settings({}, {}, tmp_path)
        except SettingsError as error:
            said = str(error)
            assert len(said) < LONGEST_WORDS + len(str(tmp_path))
            assert "canary" not in said


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[ReaderPool]:
    readers = ReaderPool(seconds=5)
    yield readers
    await readers.close()


GOOD = pdf("Hello", "World")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A PDF of which a part is gone, comes often or is something else."""
    start = draw(st.integers(0, len(GOOD)))
    end = draw(st.integers(start, min(len(GOOD), start + 200)))
    odd = draw(floods([b"<<", b">>", b"[", b"(", b"9", b"0 R", b"obj", b"stream", b"/Kids", b"/Count 99999999", b"\0"]))
    return GOOD[:start] + odd[:MOST_BYTES] + GOOD[end:]


@pytest.mark.asyncio(loop_scope="module")
@settings(FUZZ, max_examples=25)
@given(content=damaged())
@example(content=bomb(levels=3))
@example(content=b"%PDF-1.4\n" + b"[" * 100_000)
@example(content=b"%PDF-1.4\n1 0 obj" + b"<</A" * 50_000)
async def test_documents(content: bytes, pool: ReaderPool) -> None:
    try:
        text = await pool.read(encoded(content), "mallory")
    except UnreadablePDF as error:
        assert 0 < len(str(error)) < 200  # noqa: PT017
    else:
        assert text
    assert await pool.read(encoded(pdf("Hello")), "alice") == "[page 1]\nHello"
