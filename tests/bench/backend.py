"""A backend for the bench: streams chunks of chat completions at a pace, and costs next to nothing.

    python tests/bench/backend.py PORT

The model's name says what comes: `bench-<events>-<milliseconds between them>[-<kind>]`, of kind text (also without
one), think or tool. With 0 milliseconds all comes in one write.
"""

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

import uvloop
import workloads

WORDS = (" the", " quick", " brown", " fox", "\n\n", ' "jumps"', " over", " 懒", " dogs", ".")
ARGUMENTS = ("x", "y", " z", "0", "1")
CHUNK = {
    "id": "chatcmpl-5d1f7c0a9b6e4c2f",
    "object": "chat.completion.chunk",
    "created": 1763796129,
    "model": "bench",
}
COUNTS = {
    "prompt_tokens": 20000,
    "completion_tokens": 200,
    "total_tokens": 20200,
    "prompt_tokens_details": {"cached_tokens": 19000},
}
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
)
MODEL = re.compile(rb'"model": ?"[^"]*?bench-(\d+)-([\d.]+)-?(\w*)"')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def framed(data: bytes) -> bytes:
    event = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(event), event)


def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
    return framed(json.dumps(CHUNK | {"choices": [choice]}, separators=(",", ":")).encode())


def call(**fields: Any) -> bytes:
    return chunk({"tool_calls": [{"index": 0, **fields}]})


FIRST = chunk({"role": "assistant", "content": ""})
LAST = framed(json.dumps(CHUNK | {"choices": [], "usage": COUNTS}).encode()) + framed(b"[DONE]") + b"0\r\n\r\n"
# of each kind: what comes before the events, the events in turn, what comes behind them
KINDS: dict[bytes, tuple[bytes, Sequence[bytes], bytes]] = {
    b"": (b"", [chunk({"content": word}) for word in WORDS], chunk({"content": ""}, "stop")),
    b"think": (
        b"",
        [chunk({"reasoning_content": word}) for word in WORDS],
        chunk({"content": "ok"}) + chunk({}, "stop"),
    ),
    b"tool": (
        call(id="call_1", type="function", function={"name": "Write", "arguments": '{"content":"'}),
        [call(function={"arguments": piece}) for piece in ARGUMENTS],
        call(function={"arguments": '"}'}) + chunk({}, "tool_calls"),
    ),
}
MODELS = json.dumps(
    {"object": "list", "data": [{"id": name, "object": "model", "max_model_len": 1 << 23} for name in workloads.MODELS]}
).encode()


class Backend(asyncio.Protocol):
    """One connection; it answers one request after the other."""

    transport: asyncio.Transport
    left = 0
    interval = 0.0
    events: Sequence[bytes] = ()
    behind = b""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n") + 4) > 3:
            length = LENGTH.search(self.buffer, 0, end)
            size = end + (int(length[1]) if length else 0)
            if len(self.buffer) < size:
                return
            request = bytes(self.buffer[:size])
            del self.buffer[:size]
            self.answer(request)

    def answer(self, request: bytes) -> None:
        if request.startswith(b"GET"):
            self.reply(b"200 OK", MODELS)
        elif asked := MODEL.search(request):
            self.left, self.interval = int(asked[1]), float(asked[2]) / 1000
            before, self.events, self.behind = KINDS[asked[3]]
            self.stream(before)
        else:
            self.reply(b"404 Not Found", b'{"error":{"message":"ask for a model named bench-EVENTS-MILLISECONDS"}}')

    def reply(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)

    def stream(self, before: bytes) -> None:
        if self.interval:
            self.transport.write(STREAM_HEAD + FIRST + before)
            self.loop.call_later(self.interval, self.tick)
        else:
            events = (self.events[number % len(self.events)] for number in range(self.left))
            self.transport.write(b"".join((STREAM_HEAD, FIRST, before, *events, self.behind, LAST)))

    def tick(self) -> None:
        if self.transport.is_closing():
            return
        if self.left:
            self.left -= 1
            self.transport.write(self.events[self.left % len(self.events)])
            self.loop.call_later(self.interval, self.tick)
        else:
            self.transport.write(self.behind + LAST)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
