"""Work of every kind, supervised in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_process import Process, log_line, python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

_PROGRAM = """
import sys, time
from gateway.observability.logs.configuration import configure_logging
from gateway.serving.supervisor import Supervisor

def work(place):
{work}

configure_logging("info", "json")
say = lambda what: lambda value: print(what, flush=True)
sys.exit(Supervisor(work, 2, stop_seconds=0.2, on_serving=say("serving"), on_death=say("death")).run())
"""

Start = Callable[[str], AbstractAsyncContextManager[Process]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def run(work: str) -> AbstractAsyncContextManager[Process]:
        body = "\n".join(f"    {line}" for line in work.splitlines())
        return python("-c", _PROGRAM.format(work=body), folder=tmp_path, environment={})

    return run


def log_lines(err: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in err.decode().splitlines()]


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ("return 3", {"event": "worker died", "exit_code": 3}),
        ("raise ValueError('no disk')", {"event": "worker died", "exit_code": 1}),
        ("import os; os.abort()", {"event": "worker died", "signal": "SIGABRT"}),
    ],
    ids=["exit code", "exception", "signal"],
)
async def test_when_no_worker_can_start_it_ends_with_the_reason(
    work: str, reason: dict[str, Any], start: Start
) -> None:
    async with start(work) as process:
        out, err = await asyncio.wait_for(process.communicate(), 10)

    lines = log_lines(err)
    assert process.returncode == 1
    assert lines[-1]["event"] == "no worker could start"
    assert [line for line in lines if line.items() >= reason.items()]
    assert b"serving" not in out
    assert ("no disk" in err.decode()) == ("no disk" in work)


async def test_one_that_can_start_keeps_it_going_and_a_signal_is_answered_during_a_pause(start: Start) -> None:
    async with start("if place.number: return 3\nplace.report_serving()\nplace.line.recv(1)\nreturn 0") as process:
        assert process.stderr is not None
        pause = 0
        while not pause:
            line = json.loads(await asyncio.wait_for(process.stderr.readline(), 10))
            assert (line["event"], line["exit_code"]) == ("worker died", 3)
            pause = line["pause_secs"]
        process.terminate()
        out, err = await asyncio.wait_for(process.communicate(), 10)

    assert process.returncode == 0
    assert [line["event"] for line in log_lines(err)] == ["shutting down"]
    assert b"serving" not in out


async def test_a_worker_that_does_not_stop_is_killed_when_its_time_is_over(start: Start) -> None:
    async with start("place.report_serving()\ntime.sleep(600)") as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 10) == b"serving\n"
        process.terminate()
        out, err = await asyncio.wait_for(process.communicate(), 10)

    assert process.returncode == 0
    assert [line["event"] for line in log_lines(err)] == ["shutting down", "workers killed"]
    assert out == b"death\n" * 2


_HEARTBEATS = """
import mmap, sys, time
from gateway.observability.logs.configuration import configure_logging
from gateway.serving.supervisor import Supervisor

beats = memoryview(mmap.mmap(-1, 16)).cast("q")

def work(place):
    if not {serves} and place.number == place.restarts == 0:
        time.sleep(60)
    place.report_serving()
    place.line.settimeout(0.2)
    while True:
        beats[place.number] += 1
        try:
            place.line.recv(1)
            return 0
        except TimeoutError:
            pass

configure_logging("info", "json")
say = lambda value: print("serving", flush=True)
sys.exit(Supervisor(work, 2, stop_seconds=1, on_serving=say, on_death=lambda number: None,
    beats=lambda number: beats[number], hung_seconds=3, start_seconds={limit}).run())
"""


def heartbeats(folder: Path, *, serves: bool = True, limit: float = 60) -> AbstractAsyncContextManager[Process]:
    return python("-c", _HEARTBEATS.format(serves=serves, limit=limit), folder=folder, environment={})


def children(process: Process) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@linux
async def test_a_worker_without_heartbeat_is_replaced_and_no_other(tmp_path: Path) -> None:
    async with heartbeats(tmp_path) as process:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 20)
        victim, _ = children(process)
        os.kill(victim, signal.SIGSTOP)
        hung, died, replaced = [await log_line(process, f"worker {what}") for what in ("hangs", "died", "replaced")]
        process.terminate()
        _, err = await asyncio.wait_for(process.communicate(), 20)

    assert (hung["pid"], hung["reason"]) == (victim, "no heartbeat")
    assert (died["pid"], died["signal"]) == (victim, "SIGKILL")
    assert replaced["pid"] != victim
    assert [line["event"] for line in log_lines(err)] == ["shutting down"]


@linux
async def test_when_all_was_stopped_for_a_while_no_worker_is_blamed(tmp_path: Path) -> None:
    async with heartbeats(tmp_path) as process:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 20)
        os.killpg(process.pid, signal.SIGSTOP)
        # what is to be seen is that nothing happens, though a worker may be silent for three seconds only
        await asyncio.sleep(5)
        os.killpg(process.pid, signal.SIGCONT)
        await asyncio.sleep(3)
        process.terminate()
        _, err = await asyncio.wait_for(process.communicate(), 20)

    assert [line["event"] for line in log_lines(err)] == ["shutting down"]


@linux
async def test_a_worker_that_does_not_start_in_time_is_replaced(tmp_path: Path) -> None:
    async with heartbeats(tmp_path, serves=False, limit=2) as process:
        hung = await log_line(process, "worker hangs")
        await log_line(process, "worker replaced")
        process.terminate()
        await asyncio.wait_for(process.communicate(), 20)

    assert hung["reason"] == "does not serve"
