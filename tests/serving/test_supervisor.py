"""Work of every kind, supervised in a process of its own."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_process import Process, python

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
