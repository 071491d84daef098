"""What goes through the lane is what the long way writes, byte for byte, and read for read."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backend.connection.chunked_body import ChunkedBody, Receive
from gateway.record.request_record import RequestRecord
from gateway.relay.event_response import MOST_UNSENT
from gateway.relay.fast_path import FastPath
from gateway.translate.from_backend.answer import StreamTranslator
from gateway.translate.refusals.faults import BackendFault
from tests.translate.conftest import ESTIMATED_INPUT
from tests.translate.from_backend.test_delta_copier import BROKEN, ODD, RAW, TEXTS, Json, arguments, chunk, events, line


def chunked(*contents: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(content), content) for content in contents)


@dataclass
class Connections:
    """The backend's, on which bytes come in by `receive`, and the client's, to which `written` was written."""

    receive: Receive = bytes.upper
    written: list[bytes] = field(default_factory=list)
    unsent: int = 0
    closing: bool = False
    closed: bool = False

    def divert(self, receive: Receive) -> None:
        self.receive = receive

    def write(self, data: bytes) -> None:
        if self.closed:
            # uvloop's words
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Relay:
    """One answer, read and relayed as the gateway does it."""

    def __init__(self, *, lane: bool) -> None:
        self.lane = lane
        self.client = Connections()
        self.record = RequestRecord()
        self.translator = StreamTranslator(stop_sequences=("STOP",), copies=lane)
        self.translator.writer.message_start("msg_1", "m", ESTIMATED_INPUT)
        self.chunks = ChunkedBody(self.client, lambda _: None, self.client.divert)  # type: ignore[arg-type]
        self.client.receive = self.chunks.receive
        self.relayed: list[bytes] = []

    def feed(self, data: bytes) -> None:
        try:
            self.translator.feed(data)
        finally:
            if frames := self.translator.writer.take():
                self.record.event_sent(len(frames))
                self.client.write(chunked(frames))

    def take(self, data: bytes) -> bool:
        self.relayed.append(data)
        self.feed(data)
        return not self.translator.finished and not self.client.closing and self.client.unsent <= MOST_UNSENT

    def make_lane(self, chunks: ChunkedBody) -> FastPath:
        translator = self.translator
        return FastPath(self.client, self.record, translator.copier, translator.writer, chunks)  # type: ignore[arg-type]

    async def pump(self) -> str:
        try:
            while data := await self.chunks.read():
                self.feed(data)
                if not self.translator.finished:
                    await self.chunks.relay(self.take, self.make_lane if self.lane else None)
            return repr(self.translator.end(estimated_input=ESTIMATED_INPUT))
        except BackendFault as fault:
            return f"{fault.status} {fault.message}"

    async def run(self, reads: Sequence[bytes]) -> tuple[list[bytes], str]:
        """What was written for each read, and how it ended."""
        pumping = asyncio.ensure_future(self.pump())
        await asyncio.sleep(0)
        for data in reads:
            self.client.receive(data)
            for _ in range(3):
                # until what was read has been looked at
                await asyncio.sleep(0)
        if not self.chunks.ended and not self.chunks.given_back:
            self.chunks.fail(aiohttp.ClientPayloadError("the connection is gone"))
        try:
            ended = await pumping
        except aiohttp.ClientPayloadError:
            ended = "cut"
        assert self.record.sent == sum(len(data) - 4 - data.index(b"\r") for data in self.client.written)
        # ids that the gateway makes up
        return [re.sub(rb"toolu_[0-9a-f]{24}", b"toolu_", data) for data in self.client.written], ended


def agree(reads: Sequence[bytes]) -> None:
    async def both() -> None:
        assert await Relay(lane=True).run(reads) == await Relay(lane=False).run(reads)

    asyncio.run(both())


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    reads, at = [], 0
    for size in sizes:
        reads.append(data[at : at + size])
        at += size
    return [data for data in (*reads, data[at:]) if data]


END = b"0\r\n\r\n"
GO = [line(chunk(role="assistant", content="")), *[line(chunk(content=text)) for text in "Go"] * 3]


def deltas(texts: Sequence[str], kind: str = "text_delta", name: str = "text") -> list[bytes]:
    out = []
    for text in texts:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": kind, name: text}}
        data = json.dumps(delta, separators=(",", ":"), ensure_ascii=False).encode()
        out.append(chunked(b"event: content_block_delta\ndata: %b\n\n" % data))
    return out


TEXTS_OF_A_STREAM = ["lo", " there", 'say "hi"', "a\nb\\", "é", "懒😀", "x" * 512]


@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "as UTF-8"])
@pytest.mark.parametrize("kind", ["text", "thinking", "arguments"])
async def test_an_event_alone_in_its_chunk_takes_the_lane(kind: str, *, ascii_only: bool) -> None:
    def event(text: str) -> Json:
        return {
            "text": lambda: chunk(content=text),
            "thinking": lambda: chunk(reasoning_content=text),
            "arguments": lambda: arguments(text),
        }[kind]()

    start = [arguments("{", id="call_1a", name="Read")] if kind == "arguments" else []
    learnt = [line(item) for item in (*start, *[event("Go")] * 6)]
    relay = Relay(lane=True)
    before = len(learnt)
    written, _ = await relay.run(
        [chunked(data) for data in (*learnt, *(line(event(text), ascii_only=ascii_only) for text in TEXTS_OF_A_STREAM))]
    )
    assert len(relay.relayed) < before
    names = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
    assert written[-len(TEXTS_OF_A_STREAM) :] == deltas(
        TEXTS_OF_A_STREAM, *names.get(kind, ("input_json_delta", "partial_json"))
    )


async def relayed_by_the_lane() -> tuple[Relay, asyncio.Future[str]]:
    relay = Relay(lane=True)
    pumping = asyncio.ensure_future(relay.pump())
    await asyncio.sleep(0)
    for data in GO:
        relay.client.receive(chunked(data))
        await asyncio.sleep(0)
    before = len(relay.relayed)
    relay.client.receive(chunked(line(chunk(content="by the lane"))))
    assert len(relay.relayed) == before
    return relay, pumping


async def test_a_client_that_does_not_keep_up_is_left_to_the_relay() -> None:
    relay, pumping = await relayed_by_the_lane()
    before = len(relay.relayed)
    relay.client.unsent = MOST_UNSENT + 1
    # not each event is worth a look
    for _ in range(20):
        if len(relay.relayed) == before:
            relay.client.receive(chunked(line(chunk(content="relayed"))))
    # the relay has ended: what comes now is for who reads
    relay.client.unsent = 0
    relay.client.receive(chunked(line(chunk(content="read"))))
    assert [b"relayed" in data for data in relay.relayed[before:]] == [True]
    for _ in range(3):
        await asyncio.sleep(0)
    assert relay.client.written[-2:] == deltas(["relayed", "read"])
    pumping.cancel()


async def test_what_comes_for_a_client_that_has_left_is_dropped() -> None:
    relay, pumping = await relayed_by_the_lane()
    written, sent = list(relay.client.written), relay.record.sent
    relay.client.closed = True
    relay.client.receive(chunked(line(chunk(content="too late"))))

    assert (relay.client.written, relay.record.sent) == (written, sent)
    pumping.cancel()


@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "as UTF-8"])
@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)
def test_every_text(texts: list[str], ascii_only: bool) -> None:
    for event in (lambda text: chunk(content=text), lambda text: chunk(reasoning=text)):
        items = [*map(event, ["Go"] * 6), *map(event, texts * 3), chunk("stop")]
        agree([chunked(line(item, ascii_only=ascii_only)) for item in items] + [END])


@pytest.mark.parametrize("items", ODD.values(), ids=ODD)
def test_what_is_not_alike(items: list[Json]) -> None:
    agree([*map(chunked, [*GO, *map(line, [*items, *items, chunk("stop")])]), END])


@pytest.mark.parametrize("frame", RAW.values(), ids=RAW)
def test_every_framing_of_events(frame: bytes) -> None:
    lines = [frame % json.dumps(chunk(content=text)).encode() for text in "abcdefgh"]
    agree([*map(chunked, [*GO, *lines, *GO]), END])


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_the_long_way_repairs_or_refuses(broken: bytes) -> None:
    bad = line(chunk(content="a")).replace(b'"content":"a"', broken)
    agree([*map(chunked, [*GO, bad, *GO, GO[-1] + bad]), END])


DATA = line(chunk(content="o"))
FRAMINGS = {
    "two chunks in a read": [chunked(DATA, DATA)],
    "two events in a chunk": [chunked(DATA + DATA)],
    "an event in two chunks": [chunked(DATA[:50]), chunked(DATA[50:])],
    "a chunk in two reads": [chunked(DATA)[:70], chunked(DATA)[70:]],
    "a chunk whose line end comes late": [chunked(DATA)[:-2], b"\r\n"],
    "a size with zeros": [b"00" + chunked(DATA)],
    "a size in capitals": [chunked(DATA).replace(b"%x" % len(DATA), b"%X" % len(DATA), 1)],
    "a size that is wrong": [b"%x\r\n%b\r\n" % (len(DATA) + 1, DATA)],
    "an extension": [b"%x;a=b\r\n%b\r\n" % (len(DATA), DATA)],
    "a chunk in a chunk's place": [b"%x\r\n" % len(chunked(DATA)), chunked(DATA), b"\r\n"],
    "nothing": [b"0\r\n\r\n"],
}


@pytest.mark.parametrize("reads", FRAMINGS.values(), ids=FRAMINGS)
def test_every_framing_of_chunks(reads: list[bytes]) -> None:
    agree([*map(chunked, GO), *reads, chunked(DATA), *reads, END])


@pytest.mark.parametrize(("said", "length"), [(0xFF, 256), (0xFFF, 4096), (0x100, 255)])
def test_a_size_with_another_number_of_digits_than_it_should_have(said: int, length: int) -> None:
    data = line(chunk(content="o" * (length - len(DATA) + 1)))
    assert len(data) == length
    agree([*map(chunked, GO), b"%x\r\n%b\r\n" % (said, data), chunked(DATA), END])


@given(
    st.lists(st.builds(line, events, ascii_only=st.booleans()), max_size=10),
    st.lists(st.integers(1, 3), max_size=10),
    st.lists(st.integers(1, 900), max_size=6),
    st.integers(1, 3),
)
@settings(max_examples=200, deadline=None, database=None)
def test_any_stream_in_any_chunks_cut_anywhere(
    lines: list[bytes], gathered: list[int], cuts: list[int], times: int
) -> None:
    contents = GO + [data for data in lines for _ in range(times)]
    agree([*map(chunked, contents), END])
    agree(cut(b"".join(map(chunked, contents)) + END, cuts))
    grouped, at = [], len(GO)
    for count in gathered:
        grouped.append(chunked(*contents[at : at + count]))
        at += count
    agree([*map(chunked, GO), *filter(None, grouped), chunked(*contents[at:]) + END])
