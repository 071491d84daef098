"""Clients of the bench: sends requests at a server and prints what they cost it, as one line of JSON.

    python tests/bench/load.py PORT --pid PID --model bench-200-10 --connections 50 --requests 150

What is printed: answers done and failed; seconds; the server's CPU time; events that came; milliseconds to the first
content (median and 99th of 100); KiB of memory in use, before and after. With `--steady S`, all but the first
figures are of S seconds that begin once every stream has begun; then all is cut. With `--turns N`, each of
`--requests` conversations grows to N turns over one connection, and `turns` has the CPU time of each turn.
"""

import argparse
import asyncio
import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import bodies
import uvloop
from processes import cpu_seconds, resident_kib

LONGEST_SECONDS = 60
# by which content is known, of either form: a delta of Anthropic's, or one with content
CONTENT = re.compile(rb'content_block_delta|"delta":\{"(?:content|reasoning_content)":"|"tool_calls"')
EVENT = b"data: "
END = b"\r\n0\r\n\r\n"
GOOD_ENDS = (b"message_stop", b"data: [DONE]")
KEPT = 64


@dataclass
class Run:
    """All connections together: what is left to be sent, and what has come."""

    requests: Iterator[bytes]
    pid: int
    connections: int
    all_sent: bool = False
    begun: int = 0
    done: int = 0
    failed: int = 0
    events: int = 0
    first_ms: list[float] = field(default_factory=list)
    # the server's CPU time when an answer ended
    cpu: list[float] = field(default_factory=list)
    all_begun: asyncio.Event = field(default_factory=asyncio.Event)


class Client(asyncio.Protocol):
    """One connection; it sends a request when the answer to the last has ended."""

    transport: asyncio.Transport

    def __init__(self, run: Run, each_turn: bool) -> None:
        self.run = run
        self.each_turn = each_turn
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked = False
        self.has_content = False
        self.sent = 0.0
        self.head = b""
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.ask()

    def ask(self) -> None:
        request = next(self.run.requests, None)
        self.asked = request is not None
        if request is None:
            self.run.all_sent = True
            self.transport.close()
            return
        self.sent, self.head, self.has_content, self.tail = time.perf_counter(), b"", False, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        run = self.run
        if b"\r\n\r\n" not in self.head:
            self.head = (self.head + data)[:4096]
        recent = self.tail + data
        if not self.has_content and CONTENT.search(recent):
            self.has_content = True
            run.first_ms.append((time.perf_counter() - self.sent) * 1000)
            run.begun += 1
            if run.begun >= run.connections:
                run.all_begun.set()
        run.events += recent.count(EVENT) - self.tail.count(EVENT)
        self.tail = recent[-KEPT:]
        if recent.endswith(END):
            self.answered(any(end in recent[-KEPT * 4 :] for end in GOOD_ENDS))
        elif not self.head.startswith(b"HTTP/1.1 200"[: len(self.head)]):
            self.answered(good=False)

    def answered(self, good: bool) -> None:
        if self.each_turn:
            self.run.cpu.append(cpu_seconds(self.run.pid))
        if good and self.has_content:
            self.run.done += 1
            self.ask()
        else:
            self.asked = False
            self.run.failed += 1
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self.run.failed += self.asked
        self.asked = False
        if not self.closed.done():
            self.closed.set_result(None)


async def client(run: Run, port: int, each_turn: bool) -> None:
    """Connections, one after the other, until nothing is left to send."""
    loop = asyncio.get_running_loop()
    while not run.all_sent:
        _, protocol = await loop.create_connection(lambda: Client(run, each_turn), "127.0.0.1", port)
        await protocol.closed


def requests(options: argparse.Namespace) -> Iterator[bytes]:
    """What is sent, in order."""
    head = (
        f"POST {options.path} HTTP/1.1\r\nHost: 127.0.0.1:{options.port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {options.token}\r\nanthropic-version: 2023-06-01\r\nContent-Length: "
    ).encode()

    def whole(body: bytes) -> bytes:
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    if options.turns:
        for number in range(options.requests):
            for turn in range(1, options.turns + 1):
                yield whole(bodies.encoded(bodies.turn(turn, number), options.model))
        return
    request = whole(bodies.encoded(bodies.BODIES[options.body](options.kilobytes), options.model))
    for _ in range(options.requests):
        yield request


async def main(options: argparse.Namespace) -> None:
    run = Run(requests(options), options.pid, options.connections)
    cpu, before, began = cpu_seconds(options.pid), resident_kib(options.pid), time.perf_counter()
    run.cpu.append(cpu)
    clients = [asyncio.create_task(client(run, options.port, bool(options.turns))) for _ in range(options.connections)]
    everything = asyncio.gather(*clients)
    if options.steady:
        await asyncio.wait([asyncio.create_task(run.all_begun.wait()), everything], return_when="FIRST_COMPLETED")
        cpu, events, began = cpu_seconds(options.pid), run.events, time.perf_counter()
        await asyncio.sleep(options.steady)
        run.events -= events
    else:
        await asyncio.wait([everything], timeout=LONGEST_SECONDS)
    seconds, cpu, memory = time.perf_counter() - began, cpu_seconds(options.pid) - cpu, resident_kib(options.pid)
    everything.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await everything
    # what has not been answered has failed; steady streams are cut on purpose, but all must have begun
    failed = options.connections - run.begun if options.steady else options.requests * max(1, options.turns) - run.done
    times = sorted(run.first_ms) or [0.0]
    print(
        json.dumps(
            {
                "done": run.done,
                "failed": failed,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "events": run.events,
                "first_ms_p50": times[len(times) // 2],
                "first_ms_p99": times[int(len(times) * 0.99)],
                "kib_before": before,
                "kib": memory,
                "turns": [after - before for before, after in zip(run.cpu, run.cpu[1:], strict=False)],
            }
        )
    )


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--pid", type=int, required=True, help="the server that listens there")
    parser.add_argument("--path", default="/v1/messages")
    parser.add_argument("--token", default="cpk_bench")
    parser.add_argument("--model", default="bench-200-10", help="see backend.py")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--body", choices=bodies.BODIES, default="text")
    parser.add_argument("--kilobytes", type=int, default=1)
    parser.add_argument("--steady", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--turns", type=int, default=0)
    return parser


if __name__ == "__main__":
    uvloop.run(main(parser().parse_args()))
