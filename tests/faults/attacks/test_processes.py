"""Worker processes that hang, signals that nobody expects, and too few file descriptors."""

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, ask, read_until, stream
from tests.faults.conftest import Process, serve, session, until
from tests.gateway_process import GATEWAY, log_line, python

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(90)]

SECONDS = 20.0


@asynccontextmanager
async def gateway(folder: Path, backend: str, **settings: str) -> AsyncIterator[Process]:
    async with serve(folder, BACKEND_URL=backend, LOG_FORMAT="json", **settings) as process:
        yield process


@asynccontextmanager
async def streaming(url: str, scripted: ScriptedBackend, rest: asyncio.Event) -> AsyncIterator[aiohttp.ClientResponse]:
    """An answer that waits in its middle."""
    scripted.answers.append(stream(*HELLO, rest, *END))
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/v1/messages", json=ask(stream=True), headers=TOKEN) as answer,
    ):
        await read_until(answer, b'"lo"')
        yield answer


async def test_a_worker_that_hangs_is_replaced_and_the_streams_of_others_go_on(
    tmp_path: Path, scripted: ScriptedBackend
) -> None:
    rest = asyncio.Event()
    async with gateway(tmp_path, scripted.url, WORKERS="2") as process:
        pids = process.told("listening")[0]["workers"]
        async with streaming(process.url, scripted, rest) as answer:
            streams = {worker["pid"]: worker["streams"] for worker in (await process.health())["workers"]}
            victim = next(pid for pid in pids if not streams[pid])
            os.kill(victim, signal.SIGSTOP)
            await until(lambda: process.told("worker replaced"), 3 * SECONDS)
            # each has a connection of its own, and the kernel spreads them
            for _ in range(20):
                await process.health()
            rest.set()
            assert b"message_stop" in await answer.read()

    (hung,) = process.told("worker hangs")
    assert (hung["pid"], hung["reason"]) == (victim, "no heartbeat")
    assert [(line["pid"], line["signal"]) for line in process.told("worker died")] == [(victim, "SIGKILL")]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_signals_that_nobody_expects_cut_no_stream(
    workers: str, tmp_path: Path, scripted: ScriptedBackend
) -> None:
    rest = asyncio.Event()
    async with (
        gateway(tmp_path, scripted.url, WORKERS=workers) as process,
        streaming(process.url, scripted, rest) as answer,
    ):
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGALRM):
            os.killpg(process.pid, number)
        await until(lambda: len(process.told("signal ignored")) == 4, SECONDS)
        rest.set()
        assert b"message_stop" in await answer.read()

    names = {line["signal"] for line in process.told("signal ignored")}
    assert names == {"SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM"}
    assert not process.told("worker died")


async def test_a_hangup_while_a_stream_ends_at_shutdown_does_not_cut_it(
    tmp_path: Path, scripted: ScriptedBackend
) -> None:
    rest = asyncio.Event()
    environment = {"HOST_PORT": "0", "BACKEND_URL": scripted.url, "LOG_FORMAT": "json"}
    async with python(*GATEWAY, folder=tmp_path, environment=environment) as process:
        url = (await log_line(process, "listening"))["url"]
        async with streaming(url, scripted, rest) as answer:
            process.terminate()
            await log_line(process, "shutting down")
            process.send_signal(signal.SIGHUP)
            await log_line(process, "signal ignored")
            rest.set()
            assert b"message_stop" in await answer.read()
        assert await asyncio.wait_for(process.wait(), SECONDS) == 0


async def test_without_free_descriptors_clients_are_told_and_served_again_later(
    tmp_path: Path, scripted: ScriptedBackend
) -> None:
    async with gateway(tmp_path, scripted.url) as process:
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        used = process.descriptors
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used + 40, hard))
        held = [socket.create_connection(("127.0.0.1", process.port), SECONDS) for _ in range(80)]
        await until(lambda: process.told("out of file descriptors"), SECONDS)
        # refused clients that send no request are soon disconnected
        await until(lambda: process.descriptors < used + 36, SECONDS)
        async with session() as client, client.get(f"{process.url}/health") as refused:
            assert refused.status == 529
            assert refused.headers["retry-after"] == "2"
            assert "RLIMIT_NOFILE" in (await refused.json())["error"]["message"]
        for one in held:
            one.close()
        await until(lambda: process.descriptors <= used + 2, SECONDS)
        async with streaming(process.url, scripted, done := asyncio.Event()) as answer:
            done.set()
            assert b"message_stop" in await answer.read()

    (told,) = process.told("out of file descriptors")
    assert f"{used + 40}" in told["reason"]
    assert "ulimit -n" in told["remedy"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_soft_limit_is_raised_and_a_low_hard_limit_is_told(workers: str, tmp_path: Path) -> None:
    def start(limit: tuple[int, int]) -> tuple[list[Any], list[str]]:
        process = subprocess.Popen(
            [sys.executable, *GATEWAY],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOST_PORT": "0", "WORKERS": workers, "LOG_FORMAT": "json"},
            stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),  # no threads here
            text=True,
        )
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        while "listening" not in lines[-1]:
            lines.append(process.stderr.readline())
        limits = list(resource.prlimit(process.pid, resource.RLIMIT_NOFILE))
        process.terminate()
        lines += process.stderr.readlines()
        process.stderr.close()
        assert process.wait(SECONDS) == 0
        return limits, [line for line in lines if "few file descriptors" in line]

    raised, quiet = start((256, 10_000))
    low, warned = start((200, 200))

    assert (raised, quiet) == ([10_000, 10_000], [])
    assert low == [200, 200]
    (line,) = warned
    assert "200 open" in line
    assert "LimitNOFILE" in line


async def test_idle_clients_that_take_every_descriptor_leave_some_for_calls(
    tmp_path: Path, scripted: ScriptedBackend
) -> None:
    body = json.dumps(ask(stream=True)).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer cpk\r\nContent-Length: {len(body)}"
    scripted.answers.append(stream(*HELLO, *END))
    async with gateway(tmp_path, scripted.url) as process:
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (process.descriptors + 60, hard))
        reader, first = await asyncio.open_connection("127.0.0.1", process.port)
        idle = [socket.create_connection(("127.0.0.1", process.port), SECONDS) for _ in range(200)]
        await until(lambda: process.told("out of file descriptors"), SECONDS)
        first.write(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
        received = await asyncio.wait_for(reader.read(), SECONDS)
        for one in idle:
            one.close()
        first.close()

    assert b"message_stop" in received
