"""The steps that the interpreter takes for one request, or one event, and in which functions.

    python tests/bench/steps.py [--only short,turn,megabyte] [--functions 20]

A step is a bytecode. Times move by a tenth from run to run on a machine that others use, too; steps do not, so a change
of a hundredth shows. What native code does is not in them: a function that saves steps can still take more time.
"""

import argparse
import collections
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import measure
import report
import servers
from processes import BenchError
from servers import HERE, ROOT, Server
from workloads import WORKLOADS

# so few are enough: each request takes the same steps
REQUESTS = 40
WRITTEN_WITHIN_SECONDS = 20
Steps = Mapping[tuple[str, str], int]


def counted(name: str, backend: int, folder: Path) -> tuple[float, Steps]:
    """How many units of a workload there were, and the steps of all of them by function. Raises BenchError."""
    workload = measure.scaled(WORKLOADS[name], REQUESTS / WORKLOADS[name].requests)
    written = folder / f"{name}.json"
    command = [sys.executable, str(HERE / "traced.py"), str(written)]
    with servers.started(Server("gateway", f"env PYTHONPATH={ROOT} {shlex.join(command)}"), backend) as running:
        measure.warm_up(running)
        measure.run(running, workload)
        os.kill(running.pid, signal.SIGRTMIN)
        result = measure.run(running, workload)
        os.kill(running.pid, signal.SIGRTMIN + 1)
        until = time.monotonic() + WRITTEN_WITHIN_SECONDS
        while not written.exists():
            if time.monotonic() > until:
                raise BenchError("the gateway did not write how many steps it took")
            time.sleep(0.05)
    if result["failed"]:
        raise BenchError(f"{result['failed']} requests of {name} failed")
    steps: collections.Counter[tuple[str, str]] = collections.Counter()
    for path, function, count in json.loads(written.read_text()):
        steps[_short(path), function] += count
    return workload.requests * (workload.events if workload.unit == "event" else 1), steps


def _short(path: str) -> str:
    for begin in (f"{ROOT}/", "/site-packages/"):
        _, found, rest = path.rpartition(begin)
        if found:
            return rest
    return "/".join(Path(path).parts[-2:])


def main(options: argparse.Namespace) -> None:
    """Print a table for each workload. Raises BenchError."""
    with tempfile.TemporaryDirectory() as folder, servers.backend() as backend:
        for name in options.only.split(","):
            units, steps = counted(name, backend, Path(folder))
            first = sorted(steps, key=steps.__getitem__, reverse=True)[: options.functions]
            rows = [["all", "", f"{sum(steps.values()) / units:,.0f}"]]
            rows += [[*function, f"{steps[function] / units:,.1f}"] for function in first]
            print(report.table([name, "", f"steps per {WORKLOADS[name].unit}"], rows), end="\n\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="short,turn,megabyte", metavar="NAMES")
    parser.add_argument("--functions", type=int, default=20, metavar="N")
    try:
        main(parser.parse_args())
    except BenchError as error:
        raise SystemExit(f"steps.py: {error}") from None
