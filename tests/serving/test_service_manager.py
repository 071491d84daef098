"""What systemd is told, over a socket as systemd makes it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway_process import inherited

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture(params=["a file", "abstract"])
def notify(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The service manager's end, and the value of NOTIFY_SOCKET."""
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("only Linux has abstract sockets")
    # a socket's path is at most some hundred characters
    name = f"@claude-gateway-{os.getpid()}" if request.param == "abstract" else str(tmp_path.joinpath("n"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1))
        end.settimeout(10)
        yield end, name


@contextlib.contextmanager
def start(folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    settings = {"HOST_PORT": "0", "BACKEND_URL": "http://127.0.0.1:9", "SHUTDOWN_DELAY_SECS": "0.25"}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "gateway"],
        cwd=folder, env=inherited() | settings | environment, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def received(end: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in end.recv(4096).decode().split("\n"))


@pytest.mark.parametrize(
    ("workers", "microseconds"),
    # delay, grace, a margin of 15 s; the supervisor gives its workers 5 s more
    [("1", 45_250_000), ("2", 50_250_000)],
    ids=["one process", "two workers"],
)
def test_systemd_is_told_when_the_gateway_listens_and_how_long_its_end_may_take(
    notify: tuple[socket.socket, str], workers: str, microseconds: int, tmp_path: Path
) -> None:
    end, name = notify
    with start(tmp_path, NOTIFY_SOCKET=name, WORKERS=workers) as process:
        ready = received(end)
        process.send_signal(signal.SIGTERM)
        stopping = received(end)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 0, err
    assert ready["READY"] == "1"
    assert ready["STATUS"].startswith("listening on http://127.0.0.1:")
    assert ready["STATUS"].endswith(", backend http://127.0.0.1:9/v1/chat/completions")
    assert stopping == {
        "STOPPING": "1",
        "EXTEND_TIMEOUT_USEC": str(microseconds),
        "STATUS": "answers in progress are ending",
    }


def test_a_socket_that_nobody_reads_is_told_of_and_changes_nothing(tmp_path: Path) -> None:
    with start(tmp_path, NOTIFY_SOCKET=str(tmp_path / "none")) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 0, err
    assert b'"event":"listening"' in lines[0]
    assert b'"level":"warning","event":"systemd not told"' in lines[1]
    assert b"No such file or directory" in lines[1]
