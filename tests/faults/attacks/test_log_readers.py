"""Whoever reads the log, or does not, the gateway answers."""

import asyncio
import contextlib
import json
import os
import pty
import socket
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.gateway_process import Process, inherited, running
from tests.observability.metrics.scrape import scrape

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(60)]

# each leaves a line of more than 500 bytes: in all, several times what a pipe holds
REQUESTS = 300
PATH = "/" + "x" * 195
SECONDS = 10.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@asynccontextmanager
async def gateway(folder: Path, stderr: int | None, **settings: str) -> AsyncIterator[tuple[Process, str]]:
    """A gateway whose standard error is this descriptor, or closed; gives its address once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "gateway"]
    if stderr is None:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    environment = inherited() | {"HOST_PORT": str(port), "BACKEND_URL": "http://127.0.0.1:9"} | settings
    async with running(
        *command, folder=folder, environment=environment, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL if stderr is None else stderr,
    ) as process:  # fmt: skip
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield process, f"http://127.0.0.1:{port}"


async def ask(url: str, count: int = REQUESTS) -> None:
    """Each request gets its answer, over several connections."""
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def some(number: int) -> None:
            for _ in range(number):
                async with session.get(url + PATH) as response:
                    assert response.status == 404
                    assert (await response.json())["type"] == "error"

        await asyncio.gather(*(some(count // 10) for _ in range(10)))


async def stops(process: Process) -> None:
    process.terminate()
    assert await asyncio.wait_for(process.wait(), SECONDS) == 0


@contextmanager
def standard_error(kind: str) -> Iterator[int | None]:
    """A place for the log that takes too few lines, or none."""
    with contextlib.ExitStack() as stack:
        if kind == "closed":
            yield None
            return
        if kind == "full disk":
            fd = os.open("/dev/full", os.O_WRONLY)
            stack.callback(os.close, fd)
        elif kind == "stopped terminal":
            user, fd = pty.openpty()
            stack.callback(os.close, user)
            stack.callback(os.close, fd)
            termios.tcflow(fd, termios.TCOOFF)
        elif kind == "socket":
            one, other = socket.socketpair()
            stack.enter_context(one)
            stack.enter_context(other)
            fd = one.fileno()
        else:
            reads, fd = os.pipe()
            stack.callback(os.close, fd)
            if kind == "no reader":
                os.close(reads)
            else:
                stack.callback(os.close, reads)
            if kind == "non-blocking pipe":
                os.set_blocking(fd, False)
        yield fd


@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        *((kind, "1") for kind in ("unread pipe", "non-blocking pipe", "no reader", "full disk", "stopped terminal")),
        *((kind, "1") for kind in ("socket", "closed")),
        *((kind, "2") for kind in ("unread pipe", "no reader", "closed")),
    ],
)
async def test_whoever_does_not_read_the_log_stops_nobody(kind: str, workers: str, tmp_path: Path) -> None:
    form = "console" if kind == "stopped terminal" else "json"
    with standard_error(kind) as fd:
        async with gateway(tmp_path, fd, WORKERS=workers, LOG_FORMAT=form) as (process, url):
            await ask(url)
            # the supervisor, too, has something to say
            await stops(process)


async def test_lines_that_wait_come_whole_and_in_order_when_somebody_reads(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    with contextlib.closing(os.fdopen(reads, "rb")) as reader:
        async with gateway(tmp_path, writes, LOG_FORMAT="json") as (process, url):
            os.close(writes)
            timeout = aiohttp.ClientTimeout(total=SECONDS)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                ids = []
                for _ in range(REQUESTS):
                    async with session.get(url + PATH) as response:
                        ids.append(response.headers["request-id"])
            process.terminate()
            lines = [json.loads(line) for line in (await asyncio.to_thread(reader.read)).splitlines()]

    assert [line["request_id"] for line in lines if line["event"] == "request"] == ids
    assert lines[-1]["event"] == "shutting down"


async def test_lines_that_were_dropped_are_counted_and_told(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    port = free_port()
    with contextlib.closing(os.fdopen(reads, "rb")) as reader:
        async with gateway(tmp_path, writes, LOG_FORMAT="json", METRICS_PORT=str(port)) as (
            process,
            url,
        ):
            os.close(writes)
            await ask(url, 6000)
            seen = await scrape(f"http://127.0.0.1:{port}/metrics")
            dropped = seen.series("log_lines_dropped_total")[()]
            process.terminate()
            lines = [json.loads(line) for line in (await asyncio.to_thread(reader.read)).splitlines()]

    told = [line["lines"] for line in lines if line["event"] == "log lines dropped"]
    written = [line for line in lines if line["event"] == "request"]
    assert dropped > 500
    # the line about the shutdown may have been dropped, too
    assert sum(told) in (dropped, dropped + 1)
    assert len(written) + dropped == 6000
