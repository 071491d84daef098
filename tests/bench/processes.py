"""Processes that are measured: started on a processor of their own, and what they use of it, and of memory. Linux."""

import contextlib
import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

LISTENS_WITHIN_SECONDS = 30
ENDS_WITHIN_SECONDS = 5
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """The bench cannot go on; the text says what failed and what to do."""


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
                todo += map(int, children.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """The CPU time of a tree of processes so far, to the nanosecond, with that of threads that have ended."""
    return sum(map(_cpu_seconds, tree(pid)))


def _cpu_seconds(pid: int) -> float:
    clock = ctypes.c_int()
    if _libc.clock_getcpuclockid(pid, ctypes.byref(clock)):
        return 0.0
    try:
        return time.clock_gettime(clock.value)
    except OSError:
        return 0.0


def resident_kib(pid: int) -> int:
    """The memory of a tree of processes that is in use (VmRSS)."""
    return sum(map(resident_kib_of, tree(pid)))


def resident_kib_of(pid: int) -> int:
    """The memory of one process that is in use; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def processors() -> tuple[int, int]:
    """One for the server that is measured, and another for backend and load (the same where there is but one)."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Sequence[str], *, port: int, processor: int, environment: Mapping[str, str], folder: Path | None = None
) -> Iterator[tuple[int, float]]:
    """A server while it runs; gives its process id, and after how many seconds it listened. Its output goes nowhere.

    Raises BenchError when it does not come to listen on `port`.
    """
    began = time.perf_counter()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | environment,
            cwd=folder,
            preexec_fn=lambda: os.sched_setaffinity(0, {processor}),
        )
    except OSError as error:
        raise BenchError(f"{' '.join(command)}: cannot be started: {error}") from None
    try:
        _wait_until_it_listens(process, command, port, environment)
        yield process.pid, time.perf_counter() - began
    finally:
        process.terminate()
        try:
            process.wait(ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(
    process: subprocess.Popen[bytes], command: Sequence[str], port: int, environment: Mapping[str, str]
) -> None:
    deadline = time.monotonic() + LISTENS_WITHIN_SECONDS
    shown = " ".join([*(f"{name}={value}" for name, value in environment.items()), *command])
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"ended with {process.returncode} before it listened; run it by hand to see why:\n{shown}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.005)
    raise BenchError(f"does not listen on port {port} after {LISTENS_WITHIN_SECONDS} s; run it by hand:\n{shown}")
