"""The gateway's commands as processes: warnings are errors, and there are no settings but those that a test gives."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import IO, Any

Process = asyncio.subprocess.Process
GATEWAY = ("-m", "gateway")
# bytes
_LONGEST_LINE = 1 << 20


def inherited() -> dict[str, str]:
    """The variables that every process gets: where programs are, and what coverage needs to follow it."""
    names = ("PATH", "PYTHONPATH", "COVERAGE_PROCESS_CONFIG")
    return {name: os.environ[name] for name in names if name in os.environ}


@asynccontextmanager
async def running(
    *command: str,
    folder: Path,
    environment: dict[str, str],
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int | IO[bytes] = asyncio.subprocess.PIPE,
    stderr: int | IO[bytes] = asyncio.subprocess.PIPE,
) -> AsyncIterator[Process]:
    """Runs a command in a folder and in a process group of its own. What is left of the group at the end is killed."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, start_new_session=True, stdin=stdin, stdout=stdout, stderr=stderr,
        limit=_LONGEST_LINE,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


def python(
    *arguments: str, folder: Path, environment: dict[str, str], **ends: Any
) -> AbstractAsyncContextManager[Process]:
    """Runs `python -W error …`, as `running` runs it, with what it inherits and the variables given."""
    command = (sys.executable, "-W", "error", *arguments)
    return running(*command, folder=folder, environment=inherited() | environment, **ends)


async def outcome(process: Process, given: str = "") -> tuple[int | None, str, str]:
    """Exit code, standard output and standard error of a process that ends by itself."""
    out, err = await process.communicate(given.encode() if process.stdin else None)
    return process.returncode, (out or b"").decode(), (err or b"").decode()


async def log_line(process: Process, event: str) -> dict[str, Any]:
    """The next line of the log, on standard error, about `event`."""
    assert process.stderr is not None
    while raw := await asyncio.wait_for(process.stderr.readline(), 20):
        line: dict[str, Any] = json.loads(raw)
        if line["event"] == event:
            return line
    raise AssertionError(f"the log has no {event!r}")
