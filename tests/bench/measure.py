"""Measurements: loads sent at servers that run, and what comes of them."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from processes import BenchError, processors
from servers import HERE, Running, Server, started
from workloads import OPEN_STREAMS, SHORT, Workload, endless

Result = dict[str, Any]
LONGEST_SECONDS = 180


def load(running: Running, model: str, **options: object) -> Result:
    """Send requests, from the other processor; gives what load.py prints. Raises BenchError."""
    command = ["taskset", "-c", str(processors()[1]), sys.executable, str(HERE / "load.py"), str(running.port)]
    given = {"pid": running.pid, "path": running.server.path, "model": running.server.prefix + model, **options}
    for name, value in given.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    if done.returncode or done.stderr:
        raise BenchError(f"{' '.join(command)}: ended with {done.returncode}:\n{done.stderr}")
    result: Result = json.loads(done.stdout)
    return result


def whole(running: Running, model: str, **options: object) -> Result:
    """The same, where each request must be answered. Raises BenchError."""
    result = load(running, model, **options)
    if result["failed"]:
        raise BenchError(f"{running.server.name}: {result['failed']} requests for {model} failed")
    return result


def scaled(workload: Workload, part: float) -> Workload:
    """The workload with a part of its requests."""
    wanted = max(1, round(workload.requests * part))
    return replace(workload, requests=wanted, connections=min(workload.connections, wanted))


def run(running: Running, workload: Workload) -> Result:
    """One run: CPU time in microseconds for each unit; milliseconds to the first content; requests that failed."""
    result = load(
        running,
        workload.model,
        connections=workload.connections,
        requests=workload.requests,
        body=workload.body,
        kilobytes=workload.kilobytes,
    )
    units = result["done"] * (workload.events if workload.unit == "event" else 1)
    return {
        "cpu_us": result["cpu_seconds"] / max(1, units) * 1e6,
        "first_ms_p50": result["first_ms_p50"],
        "first_ms_p99": result["first_ms_p99"],
        "failed": result["failed"],
    }


def warm_up(running: Running, **options: object) -> None:
    """Some answers that do not count. Raises BenchError if none comes."""
    whole(running, SHORT, connections=2, requests=20, **options)


def workload(servers: Sequence[Running], workload: Workload, rounds: int) -> Mapping[str, list[Result]]:
    """By server, the results of all rounds; in a round, the servers have their turns one after the other."""
    results: dict[str, list[Result]] = {running.server.name: [] for running in servers}
    for _ in range(rounds):
        for running in servers:
            results[running.server.name].append(run(running, workload))
    return results


def open_streams(server: Server, backend: int, streams: int, *, seconds: float) -> Result:
    """A server newly started, with `streams` open: KiB for each, CPU microseconds for each event, start-up seconds."""
    with started(server, backend) as running:
        warm_up(running)
        result = whole(running, endless(streams), connections=streams, requests=streams, steady=seconds)
        return {
            "kib": (result["kib"] - result["kib_before"]) / streams,
            "cpu_us": result["cpu_seconds"] / max(1, result["events"]) * 1e6,
            "start_seconds": running.start_seconds,
        }


def memory(
    servers: Sequence[Server], backend: int, rounds: int, tell: Callable[[str], None]
) -> Mapping[str, list[Result]]:
    """By server, the memory of open streams; each time of a process that is new."""
    results: dict[str, list[Result]] = {server.name: [] for server in servers}
    for number in range(rounds):
        tell(f"memory: round {number + 1} of {rounds}")
        for server in servers:
            results[server.name].append(open_streams(server, backend, OPEN_STREAMS, seconds=2))
    return results
