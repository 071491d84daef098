"""What the gateway's CPU time is made of, as shares of a hundred; by two profilers, one after the other.

    python tests/bench/shares.py [--only paced,short,turn,megabyte] [--seconds 8]

perf says in which library, or in the kernel, the processor was; py-spy under whose Python functions (native code that
they call counts as theirs). Either is left out where it is not installed.
"""

import argparse
import collections
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import measure
import report
import servers
from processes import BenchError
from servers import Running
from workloads import WORKLOADS

# the first that a file's name or path holds counts
LIBRARIES = {
    "[kernel": "kernel",
    "vmlinux": "kernel",
    "loop.cpython": "event loop (uvloop)",
    "_core.cpython": "JSON (msgspec)",
    "_tiktoken": "token estimate (tiktoken)",
    "_http_": "aiohttp's native parts",
    "reader_c": "aiohttp's native parts",
    "_multidict": "aiohttp's native parts",
    "_quoting": "aiohttp's native parts",
    "_helpers_c": "aiohttp's native parts",
    "_frozenlist": "aiohttp's native parts",
    "python": "interpreter",
    "libc": "libc (copying, allocating)",
    "[vdso]": "libc (copying, allocating)",
}
MODULES = {
    "gateway/relay/fast_path.py": "ours: the fast path",
    "gateway/door/body.py": "ours: reading the request",
    "gateway/anthropic/decode.py": "ours: reading the request",
    "gateway/anthropic/tool_list_cache.py": "ours: reading the request",
    "gateway/anthropic/long_messages.py": "ours: reading the request",
    "gateway/turn/": "ours: reading the request",
    "gateway/tokens/": "ours: token estimate",
    "gateway/relay/event_": "ours: writing the answer",
    "gateway/anthropic/": "ours: writing the answer",
    "gateway/translate/": "ours: translating",
    "gateway/openai/": "ours: translating",
    "gateway/backend/": "ours: calling the backend",
    "gateway/door/middleware/access_log.py": "logging",
    "gateway/observability/logs/configuration.py": "logging",
    "structlog/": "logging",
    "gateway/": "ours: routes, middleware",
    "aiohttp/client": "aiohttp: client",
    "aiohttp/connector": "aiohttp: client",
    "aiohttp/": "aiohttp: server",
    "yarl/": "aiohttp: its URLs and headers",
    "multidict/": "aiohttp: its URLs and headers",
    "uvloop/": "event loop, with its reads and writes",
    "asyncio/runners.py": "event loop, with its reads and writes",
}
OTHER = "other"
# a thread that waits for work, though it may look busy
IDLE = "_worker (concurrent/futures/thread.py"
FRAME = re.compile(r"\(([^()]*?)(?::\d+)?\)$")


def by_library(pid: int, seconds: float, folder: Path) -> Mapping[str, float]:
    """From perf."""
    data = folder / "perf.data"
    _run(["perf", "record", "-e", "cpu-clock", "-F", "2000", "-p", str(pid), "-o", str(data), "sleep", str(seconds)])
    command = ["perf", "report", "--stdio", "--sort", "dso", "-i", str(data)]
    shares: collections.Counter[str] = collections.Counter()
    for line in _run(command).splitlines():
        if found := re.fullmatch(r"\s*([\d.]+)%\s+(\S.*?)\s*", line):
            shares[_group(found[2], LIBRARIES)] += float(found[1])  # type: ignore[assignment]  # a Counter of floats
    return shares


def by_module(pid: int, seconds: float, folder: Path) -> Mapping[str, float]:
    """From py-spy: of each sample, the innermost function of a known module."""
    raw = folder / "stacks.txt"
    _run(["py-spy", "record", "-p", str(pid), "-d", str(round(seconds)), "-r", "500", "-f", "raw", "-o", str(raw)])
    counts: collections.Counter[str] = collections.Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if IDLE in stack.rpartition(";")[2]:
            continue
        files = [found[1] for frame in stack.split(";") if (found := FRAME.search(frame))]
        groups = (_group(file, MODULES) for file in reversed(files))
        counts[next((group for group in groups if group != OTHER), OTHER)] += int(count)
    return {group: count * 100 / counts.total() for group, count in counts.items()}


PROFILERS = {
    "perf": ("where the processor was", by_library),
    "py-spy": ("under whose functions", by_module),
}


def _group(path: str, groups: Mapping[str, str]) -> str:
    return next((group for part, group in groups.items() if part in path), OTHER)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def profiled(running: Running, name: str, profiler: str, seconds: float) -> Mapping[str, float]:
    """One workload's shares, while it is repeated."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            measure.run(running, WORKLOADS[name])

    load = threading.Thread(target=repeat)
    load.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return PROFILERS[profiler][1](running.pid, seconds, Path(folder))
    finally:
        ended.set()
        load.join()


def main(options: argparse.Namespace) -> None:
    """Print a table for each profiler. Raises BenchError."""
    names = options.only.split(",")
    with servers.backend() as backend, servers.started(servers.this_gateway(), backend) as running:
        measure.warm_up(running)
        for profiler, (title, _) in PROFILERS.items():
            if not shutil.which(profiler):
                print(f"{profiler} is not installed\n")
                continue
            shares = {name: profiled(running, name, profiler, options.seconds) for name in names}
            groups = sorted(
                {group for found in shares.values() for group in found},
                key=lambda group: -sum(found.get(group, 0) for found in shares.values()),
            )
            rows = [[group, *(f"{shares[name].get(group, 0):.1f} %" for name in names)] for group in groups]
            print(report.table([f"{title} ({profiler})", *names], rows), end="\n\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="paced,short,turn,megabyte", metavar="NAMES")
    parser.add_argument("--seconds", type=float, default=8.0)
    try:
        main(parser.parse_args())
    except BenchError as error:
        raise SystemExit(f"shares.py: {error}") from None
