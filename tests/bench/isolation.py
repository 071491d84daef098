"""How much one hostile key holds up another: the time to a good client's first content, alone and beside each attack.

    python tests/bench/isolation.py [--only "dear bodies,streams"] [--requests 200]

The gateway has two keys and a processor of its own (the children that read PDFs share it). Backend and clients are on
another one, where the hostile client gives way to the rest (`nice`); how long the backend itself takes meanwhile, asked
without the gateway, says how much of the delay is the bench's own.
"""

import argparse
import asyncio
import contextlib
import functools
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bodies
import measure
import servers
from processes import BenchError, processors, resident_kib_of, tree
from report import table
from servers import ROOT, Running
from workloads import HELD, SHORT, THOUGHTFUL

GOOD, HOSTILE = "gw-good-0123456789abcdef", "gw-hostile-0123456789abcdef"
ALONE, ALL = "alone", "all at once"
COLUMNS = (
    "beside",
    "first content, ms p50 / p99",
    "backend takes 50 ms",
    "without the gateway",
    "errors",
    "MiB + readers'",
    "answers to the hostile client",
)
SLOW_BYTES_PER_SECOND = 4200
NAME_CHARACTERS = 8 * 1024 * 1024


class Hostile:
    """The hostile client's connections, and how they were answered: a status, or "cut" for none."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: Counter[str] = Counter()

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, request: bytes) -> None:
        """Send a request and read its answer to the end."""
        reader, writer = await self.opened()
        try:
            reading = asyncio.create_task(reader.read(12))
            writer.write(request)
            self.answers[(await reading)[9:].decode() or "cut"] += 1
            while await reader.read(1 << 16):
                pass
        finally:
            writer.transport.abort()

    async def drip(self, request: bytes) -> None:
        """Send a body just as slowly as it may be."""
        reader, writer = await self.opened()
        try:
            answer = asyncio.create_task(reader.read(12))
            at = 0
            while not answer.done():
                writer.write(request[at : at + SLOW_BYTES_PER_SECOND])
                at += SLOW_BYTES_PER_SECOND
                await asyncio.wait([answer], timeout=1)
            self.answers[answer.result()[9:].decode() or "cut"] += 1
        finally:
            writer.transport.abort()

    async def leave(self, request: bytes, bytes_sent: int, *, hear: bool = False) -> None:
        """Be gone after so many bytes; with `hear`, after the first of the answer."""
        reader, writer = await self.opened()
        try:
            writer.write(request[:bytes_sent])
            await writer.drain()
            await (reader.read(1) if hear else asyncio.sleep(0.01))
            self.answers["left"] += 1
        finally:
            writer.transport.abort()


def whole(body: Mapping[str, Any]) -> bytes:
    """A request with this body, at the end of whose answer the connection is closed."""
    data = json.dumps({"model": SHORT, "max_tokens": 50, "stream": True, **body}, separators=(",", ":")).encode()
    head = (
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Authorization: Bearer {HOSTILE}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def said(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


HELLO = {"messages": said("Hello")}
Round = Callable[[Hostile], Awaitable[None]]


def asking(*sent: Mapping[str, Any]) -> Iterator[Round]:
    """Rounds that send these bodies in turn."""
    for request in itertools.cycle([whole(body) for body in sent]):
        yield lambda hostile, request=request: hostile.ask(request)


def large() -> Iterator[Round]:
    return asking({**bodies.conversation(24 * 1024), "model": SHORT}, {"messages": said("hello there " * 2_000_000)})


def slow() -> Iterator[Round]:
    request = whole({"messages": said("x" * 2**20)})
    return itertools.repeat(lambda hostile: hostile.drip(request))


def dear() -> Iterator[Round]:
    return asking(
        {**HELLO, **{f"k{number}": 1 for number in range(60_000)}},
        {**HELLO, "zz": [[]] * 250_000},
        {"messages": said([{"type": "u", "text": 1}] * 30_000)},
        {"messages": said([{"type": "text", "text": "x"}] * 90_000)},
        {**HELLO, "tools": [{"name": f"t{number}", "input_schema": {}} for number in range(5000)]},
    )


def bombs() -> Iterator[Round]:
    sys.path.append(str(ROOT))
    from tests.documents.pdf_files import bomb, encoded

    for number in itertools.count():
        # none of them is known from before
        source = {"type": "base64", "media_type": "application/pdf", "data": encoded(bomb() + b"%%%d" % number)}
        request = whole({"messages": said([{"type": "document", "source": source}])})
        yield lambda hostile, request=request: hostile.ask(request)


def names() -> Iterator[Round]:
    name = "m" * NAME_CHARACTERS
    return asking({**HELLO, "model": name}, {**HELLO, "tools": [{"name": name, "input_schema": {}}]})


def disconnects() -> Iterator[Round]:
    short, long, held = whole(HELLO), whole({"messages": said("x" * 2_000_000)}), whole({**HELLO, "model": HELD})
    stages = [
        *((short, sent) for sent in (0, 20, short.index(b"\r\n\r\n"), len(short) - 1, len(short))),
        *((long, sent) for sent in (len(long) // 2, len(long))),
    ]
    rounds: list[Round] = [lambda hostile, stage=stage: hostile.leave(*stage) for stage in stages]
    rounds.append(lambda hostile: hostile.leave(held, len(held), hear=True))
    return itertools.cycle(rounds)


def streams() -> Iterator[Round]:
    return asking({**HELLO, "model": HELD})


# what is done, and by how many connections at once
ATTACKS: Mapping[str, tuple[Callable[[], Iterator[Round]], int]] = {
    "large bodies": (large, 8),
    "slow bodies": (slow, 600),
    "dear bodies": (dear, 8),
    "PDF bombs": (bombs, 8),
    "long names": (names, 4),
    "disconnects": (disconnects, 16),
    "streams": (streams, 2200),
}


async def attack(port: int, wanted: Sequence[str]) -> None:
    """Attack until SIGTERM; then print the answers."""
    hostile, stop = Hostile(port), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def one(rounds: Iterator[Round]) -> None:
        while True:
            try:
                await next(rounds)(hostile)
            except OSError:
                hostile.answers["cut"] += 1
            # a client that is refused asks again at once, but not in a loop without end
            await asyncio.sleep(0.005)

    tasks = []
    for name in wanted:
        make, connections = ATTACKS[name]
        rounds = make()
        tasks += [asyncio.create_task(one(rounds)) for _ in range(connections)]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    print(json.dumps(hostile.answers))


@contextlib.contextmanager
def attacked(port: int, wanted: Sequence[str], settle: float) -> Iterator[Counter[str]]:
    """An attack while it goes on; the answers to it are there at its end.

    `settle`: seconds for it to reach its full force, and for its traces to go.
    """
    answers: Counter[str] = Counter()
    if not wanted:
        yield answers
        return
    command = ["taskset", "-c", str(processors()[1]), "nice", "-n", "19", sys.executable, str(Path(__file__))]
    process = subprocess.Popen([*command, "--attack", str(port), "--only", ",".join(wanted)], stdout=subprocess.PIPE)
    try:
        time.sleep(settle)
        yield answers
        if process.poll() is not None:
            raise BenchError(f"the attack ended with {process.returncode}")
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=60)
    answers.update(json.loads(out))
    time.sleep(settle)


@contextlib.contextmanager
def most_memory(pid: int) -> Iterator[list[int]]:
    """The most KiB that a process, and all of its children together, have in use."""
    most, ended = [0, 0], threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            own, *children = tree(pid)
            most[0] = max(most[0], resident_kib_of(own))
            most[1] = max(most[1], sum(map(resident_kib_of, children)))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        ended.set()
        looking.join()


def measured(
    gateway: Running, backend: Running, name: str, wanted: Sequence[str], options: argparse.Namespace
) -> list[str]:
    """A row of the table: the good client beside an attack."""
    load = functools.partial(measure.load, token=GOOD, connections=2, requests=options.requests)
    with most_memory(gateway.pid) as most, attacked(gateway.port, wanted, options.settle) as answers:
        found = [load(gateway, model) for model in (SHORT, THOUGHTFUL)]
        own = load(backend, THOUGHTFUL)
    times = [f"{one['first_ms_p50']:.1f} / {one['first_ms_p99']:.1f}" for one in (*found, own)]
    hostile = ", ".join(f"{answer}: {count:,}" for answer, count in sorted(answers.items()))
    failed = sum(one["failed"] for one in found)
    return [name, *times, str(failed), " + ".join(f"{kib / 1024:.0f}" for kib in most if kib), hostile or "-"]


def main(options: argparse.Namespace) -> None:
    """Measure and print. Raises BenchError."""
    wanted = [name for name in options.only.split(",") if name] or [*ATTACKS, ALL]
    if unknown := [name for name in wanted if name not in (*ATTACKS, ALL)]:
        raise BenchError(f"--only {','.join(unknown)}: unknown; there are {', '.join([*ATTACKS, ALL])}")
    rows: list[list[str]] = []
    try:
        _measure(wanted, options, rows)
    finally:
        # a long run that is ended early has figures, too
        if rows:
            print(table(COLUMNS, rows))


def _measure(wanted: Sequence[str], options: argparse.Namespace, rows: list[list[str]]) -> None:
    server = servers.this_gateway()
    keys = {"GATEWAY_API_KEYS": f"{GOOD} name=good,{HOSTILE} name=hostile", "BACKEND_API_KEY": "bench"}
    with servers.backend() as port, servers.started(server, port, keys) as gateway:
        backend = Running(replace(server, path="/v1/chat/completions"), port, os.getpid(), 0)
        measure.warm_up(gateway, token=GOOD)
        for name in (ALONE, *wanted):
            attacks = {ALONE: [], ALL: list(ATTACKS)}.get(name, [name])
            if sys.stderr.isatty():
                print(f"{name} …", file=sys.stderr, flush=True)
            rows.append(measured(gateway, backend, name, attacks, options))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAMES", help=f"just these, of {', '.join([*ATTACKS, ALL])}")
    parser.add_argument("--requests", type=int, default=200, help="of the good client, for each figure (default: 200)")
    parser.add_argument(
        "--settle",
        type=float,
        default=4.0,
        metavar="SECONDS",
        help="for an attack to reach its full force, and again for its traces to go (default: 4)",
    )
    parser.add_argument("--attack", type=int, metavar="PORT", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    options = parser().parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.attack:
        asyncio.run(attack(options.attack, options.only.split(",")))
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("isolation.py: ended by a signal"))
        try:
            main(options)
        except (BenchError, OSError) as error:
            raise SystemExit(f"isolation.py: {error}") from None
