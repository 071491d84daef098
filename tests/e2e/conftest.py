"""Real clients and servers. What they install is kept between runs, outside of the tree."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def npm() -> None:
    """Skips where npm is missing or its registry does not answer."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")


@pytest.fixture(scope="module")
def llama(cache: Path) -> Iterator[str]:
    """The URL of a llama.cpp server, one for all tests of a module."""
    # one thread: two would wait for each other at every step wherever something else runs as well
    with server_process("start_llama_backend.sh", cache / "llama", THREADS="1") as url:
        yield url


@contextlib.contextmanager
def server_process(script: str, folder: Path, **environment: str) -> Iterator[str]:
    """A model server, installed into `folder` and started by one of the scripts here; gives its URL. Skips where that
    cannot be done.
    """
    if shutil.which("curl") is None:
        pytest.skip("curl, which the start script needs, is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = ("bash", str(HERE / script), str(folder), str(port))
    started = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if started.returncode != 0:
        pytest.skip(f"{script}: cannot be installed or started here: {started.stderr[-300:]}")
    pid = int(started.stdout.split()[-1])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.kill(pid, signal.SIGTERM)


@contextlib.asynccontextmanager
async def demo_process() -> AsyncIterator[str]:
    """`python -m gateway demo` on a free port; gives its URL, which is in the first line that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "demo", "--host-port", "0",
        env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        first = (await process.stdout.readline()).decode()
        url = re.search(r"http://[\d.]+:\d+", first)
        assert url is not None, first
        # the rest of the conversation must not fill the pipe
        reading = asyncio.create_task(process.stdout.read())
        yield url[0]
        process.terminate()
        await reading
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def run(*command: str, **environment: str) -> tuple[int, str, str]:
    """A command's exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def last_json_line(text: str) -> dict[str, object]:
    """The last line, read as JSON."""
    line: dict[str, object] = json.loads(text.strip().splitlines()[-1])
    return line
