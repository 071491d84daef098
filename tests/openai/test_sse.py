"""Streams of server-sent events, fed whole, byte by byte and cut anywhere, with one outcome."""

import re
from collections.abc import Iterable
from itertools import pairwise

import pytest

# the SDK has no public door to its parser
from anthropic._streaming import SSEDecoder as SDKDecoder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.openai.sse import ServerSentEvent, SSEDecoder
from tests.samples import answer_names, recorded_answer

BOM = b"\xef\xbb\xbf"

fuzz = settings(max_examples=200, deadline=None, database=None)

CASES: dict[str, tuple[bytes, list[ServerSentEvent]]] = {
    "LF": (b"data: 1\n\ndata: 2\n\n", [(b"", b"1"), (b"", b"2")]),
    "CRLF": (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [(b"", b"1"), (b"", b"2")]),
    "CR": (b"data: 1\r\rdata: 2\r\r", [(b"", b"1"), (b"", b"2")]),
    "LF then CR is two line ends": (b"data: 1\n\rdata: 2\n\r", [(b"", b"1"), (b"", b"2")]),
    "CRLF then LF": (b"data: 1\r\n\ndata: 2\r\n\n", [(b"", b"1"), (b"", b"2")]),
    "CR then CRLF": (b"data: 1\r\r\ndata: 2\r\r\n", [(b"", b"1"), (b"", b"2")]),
    "a CRLF after each line is no blank line": (b"data: 1\r\ndata: 2\r\n\r\n", [(b"", b"1\n2")]),
    "nothing": (b"", []),
    "blank lines only": (b"\n\n\r\n\r\r\n", []),
    "a flood of blank lines": (
        b"\n" * 50 + b"data: 1" + b"\n" * 50 + b"data: 2" + b"\r\n" * 50,
        [(b"", b"1"), (b"", b"2")],
    ),
    "comments": (b": OPENROUTER PROCESSING\n\n:\n\n: keep-alive\ndata: 1\n:ping\ndata: 2\n\n", [(b"", b"1\n2")]),
    "several data lines": (b'data: {"a":\ndata: 1}\n\n', [(b"", b'{"a":\n1}')]),
    "data without a space": (b"data:1\n\n", [(b"", b"1")]),
    "only the first space goes": (b"data:  1 \n\n", [(b"", b" 1 ")]),
    "data with nothing": (b"data:\n\ndata: \n\n", [(b"", b""), (b"", b"")]),
    "data without a colon": (b"data\n\ndata\ndata\n\ndata: 1\ndata\n\n", [(b"", b""), (b"", b"\n"), (b"", b"1\n")]),
    "a colon in the data": (b"data: a: b\n\n", [(b"", b"a: b")]),
    "an event's name, with and without a space": (
        b"event: error\ndata: 1\n\nevent:ping\ndata: 2\n\n",
        [(b"error", b"1"), (b"ping", b"2")],
    ),
    "a name after the data": (b"data: 1\nevent: error\n\n", [(b"error", b"1")]),
    "a name ends with its event": (b"event: error\ndata: 1\n\ndata: 2\n\n", [(b"error", b"1"), (b"", b"2")]),
    "a name without data is no event": (b"event: error\n\ndata: 1\n\n", [(b"", b"1")]),
    "the last of two names": (b"event: a\nevent: b\ndata: 1\n\n", [(b"b", b"1")]),
    "id and retry": (b"id: 7\nretry: 3000\ndata: 1\n\n", [(b"", b"1")]),
    "fields that only begin like ours": (b"database: 1\nevents: x\ndat: 2\nDATA: 3\n data: 4\ndata : 5\n\n", []),
    "BOM": (BOM + b"data: 1\n\ndata: 2\n\n", [(b"", b"1"), (b"", b"2")]),
    "BOM, then a blank line": (BOM + b"\ndata: 1\n\n", [(b"", b"1")]),
    "BOM, then a comment": (BOM + b": hello\ndata: 1\n\n", [(b"", b"1")]),
    "a BOM alone": (BOM, []),
    "two BOMs are one too many": (BOM + BOM + b"data: 1\n\ndata: 2\n\n", [(b"", b"2")]),
    "no BOM after a line": (b"data: 1\n" + BOM + b"data: 2\n\n", [(b"", b"1")]),
    "no BOM after a blank line": (b"\n" + BOM + b"data: 1\n\ndata: 2\n\n", [(b"", b"2")]),
    "no BOM after a comment": (b":\n" + BOM + b"data: 1\n\ndata: 2\n\n", [(b"", b"2")]),
    "a BOM in the data is data": (b"data: " + BOM + b"1\n\n", [(b"", BOM + b"1")]),
    "half a BOM is something else": (BOM[:2] + b"data: 1\n\ndata: 2\n\n", [(b"", b"2")]),
    "U+2028, U+2029, U+0085, VT, FF and FS are text": (
        "data: a\u2028b\u2029c\u0085d\u000be\u000cf\u001cg\n\n".encode(),
        [(b"", "a\u2028b\u2029c\u0085d\u000be\u000cf\u001cg".encode())],
    ),
    "characters of two to four bytes": ("data: é€😀\n\n".encode(), [(b"", "é€😀".encode())]),
    "bytes that are no UTF-8": (b"data: \xff\xfe\x00\n\n", [(b"", b"\xff\xfe\x00")]),
    "the last blank line is missing": (b"data: 1\n\ndata: 2\n", [(b"", b"1"), (b"", b"2")]),
    "the last line end is missing": (b"data: 1\r\n\r\ndata: 2", [(b"", b"1"), (b"", b"2")]),
    "the stream ends with a CR": (b"data: 1\r", [(b"", b"1")]),
    "the stream ends inside CRLF CRLF": (b"data: 1\r\n\r", [(b"", b"1")]),
    "the stream ends after a name": (b"data: 1\n\nevent: error", [(b"", b"1")]),
}

table = pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES)


def decoded(pieces: Iterable[bytes]) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.flush()


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@table
def test_a_stream_fed_whole(stream: bytes, events: list[ServerSentEvent]) -> None:
    assert decoded([stream]) == events


@table
def test_a_stream_fed_byte_by_byte(stream: bytes, events: list[ServerSentEvent]) -> None:
    assert decoded(stream[at : at + 1] for at in range(len(stream))) == events


@table
def test_a_stream_cut_in_two_anywhere(stream: bytes, events: list[ServerSentEvent]) -> None:
    for at in range(len(stream) + 1):
        assert decoded([stream[:at], b"", stream[at:]]) == events


def test_an_event_comes_with_the_byte_that_completes_it() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"event: x\ndata: 1\n") == []
    assert decoder.feed(b"\ndata: 2\n\ndata: 3") == [(b"x", b"1"), (b"", b"2")]
    assert decoder.feed(b"\r") == []
    assert decoder.feed(b"\r") == [(b"", b"3")]
    assert decoder.feed(b"\n") == []
    assert decoder.flush() == []


# what lines are made of, and what looks like it
_MORSELS = [
    *(b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n"),
    *(b"data", b"data:", b"data: ", b"event: x", b"event:", b"id: 1", b"retry: 5", b":", b" ", b": keep-alive"),
    *(
        BOM,
        BOM[:1],
        BOM[1:],
        "é😀".encode(),
        "\u2028".encode(),
        "\u0085".encode(),
        b"\x0b",
        b"\x00",
        b'{"a":1}',
        b"[DONE]",
    ),
]


def by_the_standard(stream: bytes) -> list[ServerSentEvent]:
    """WHATWG HTML, section 9.2.6, word for word on the whole stream; the end of the stream completes an event."""
    events: list[ServerSentEvent] = []
    name, data = b"", b""
    for line in [*re.split(rb"\r\n|\r|\n", stream.removeprefix(BOM)), b""]:
        field, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data:
                events.append((name, data.removesuffix(b"\n")))
            name, data = b"", b""
        elif field == b"data":
            data += value + b"\n"
        elif field == b"event" and colon:
            name = value.strip()
    return events


@fuzz
@given(stream=st.lists(st.sampled_from(_MORSELS)).map(b"".join), places=st.lists(st.integers(min_value=0), max_size=8))
@example(stream=b"data: 1\r\n\r\n", places=[8, 10])
@example(stream=b"data: 1\n\ndata: \n\ndata: [DONE]\n\n", places=[])
@example(stream=b"data: 1\n\ndata: 2\nevent: x\n\n", places=[])
@example(stream=b"data: 1\n\ndata: 2\n\n", places=[2, 9])
def test_any_stream_cut_anywhere_is_read_by_the_standard(stream: bytes, places: list[int]) -> None:
    assert decoded(cut(stream, places)) == by_the_standard(stream)


@fuzz
@given(stream=st.binary(max_size=200), places=st.lists(st.integers(min_value=0), max_size=8))
def test_any_bytes_are_read_by_the_standard(stream: bytes, places: list[int]) -> None:
    assert decoded(cut(stream, places)) == by_the_standard(stream)


_LINES = [
    "data: 1",
    "data:2",
    "data: a: b",
    "data",
    "event: x",
    ": c",
    "",
    "",
    "data: é\u2028\u0085😀",
    "id: 4",
    "other",
]


@fuzz
@given(lines=st.lists(st.sampled_from(_LINES)), places=st.lists(st.integers(min_value=0), max_size=8))
def test_the_sdk_reads_the_same_in_streams_with_line_feeds(lines: list[str], places: list[int]) -> None:
    stream = "".join(f"{line}\n" for line in [*lines, ""]).encode()
    # it gives events without data, too; these show in `raw`
    theirs = [
        sse for sse in SDKDecoder().iter_bytes(iter([stream])) if any(line.startswith("data") for line in sse.raw)
    ]
    assert decoded(cut(stream, places)) == [((sse.event or "").encode(), sse.data.encode()) for sse in theirs]


@pytest.mark.timeout(10)
def test_megabytes_in_small_pieces_take_no_megabytes_each() -> None:
    """A decoder that copied all it has with each piece, or each line, would copy some 20 GB here."""
    line = b"x" * 5_000_000
    stream = b"data: " + line + b"\n\n"
    assert decoded(stream[at : at + 500] for at in range(0, len(stream), 500)) == [(b"", line)]
    assert decoded([b"data: 12345678\n" * 300_000 + b"\n"]) == [(b"", b"\n".join([b"12345678"] * 300_000))]


def test_recorded_streams_are_read_alike_however_they_are_cut() -> None:
    read = 0
    for name in answer_names():
        recorded = recorded_answer(name)
        if not recorded.is_event_stream:
            continue
        stream = recorded.body
        events = decoded([stream])
        assert events, name
        pieces = (stream[at : at + 7] for at in range(0, len(stream), 7))
        assert decoded(pieces) == events == by_the_standard(stream), name
        read += 1
    assert read > 100
