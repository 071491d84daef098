"""The gateway beside nginx, which copies the same bytes: what each event, request and open stream costs.

    python tests/bench/run.py [--rounds 3] [--only paced,burst] [--growth]

Servers run on one processor, backend and clients on another, and have their turns within each round. Tables are
printed, and written with all figures and plots to --out: bench.md, bench.json, *.svg. tests/bench/README.md says how
to read them.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import growth
import measure
import report
import servers
from processes import BenchError, processors
from servers import ROOT, Running, Server
from workloads import WORKLOADS

MEMORY = "memory"
# by name: what is measured on servers that run, or None if they are started anew each time
SERIES: Mapping[str, Callable[[Sequence[Running], int], growth.Growth] | None] = {
    "events": growth.events,
    "streams": None,
    "body": growth.body,
    "turns": growth.turns,
}
NAMES = (*WORKLOADS, MEMORY, *SERIES)


def main(options: argparse.Namespace) -> None:
    """Measure and report. Raises BenchError."""
    compared = compare(options)
    wanted = selected(options)
    _raise_limit_of_files()
    options.out.mkdir(parents=True, exist_ok=True)
    targeted = [server.name for server in compared if server.has_targets]
    found: dict[str, Any] = {"about": about(compared, options.rounds), "workloads": {}, MEMORY: {}, "growth": {}}
    with servers.backend() as backend:
        if running_needed := [name for name in wanted if name not in (MEMORY, "streams")]:
            with contextlib.ExitStack() as stack:
                running = [stack.enter_context(servers.started(server, backend)) for server in compared]
                for one in running:
                    measure.warm_up(one)
                for name in running_needed:
                    tell(f"{name} …")
                    if name in WORKLOADS:
                        workload = measure.scaled(WORKLOADS[name], options.scale)
                        found["workloads"][name] = measure.workload(running, workload, options.rounds)
                    elif (series := SERIES[name]) is not None:
                        found["growth"][name] = series(running, options.rounds)
        if MEMORY in wanted:
            found[MEMORY] = measure.memory(compared, backend, options.rounds, tell)
        if "streams" in wanted:
            tell("streams …")
            found["growth"]["streams"] = growth.streams(compared, backend, options.rounds)
    write(found, targeted, options.out)


def compare(options: argparse.Namespace) -> Sequence[Server]:
    """The servers to be compared, nginx first. Raises BenchError."""
    ours = [servers.gateway(given, number) for number, given in enumerate(options.gateway)] or [servers.this_gateway()]
    floor = servers.nginx() if options.nginx else None
    if options.nginx and floor is None:
        tell("nginx is not installed: absolute figures only (Debian: apt-get install nginx-light)")
    compared = [*([floor] if floor else []), *ours, *map(servers.peer, options.peer)]
    names = [server.name for server in compared]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BenchError(
            f"two servers are named {', '.join(sorted(twice))}: give one another name, as in after=COMMAND"
        )
    return compared


def selected(options: argparse.Namespace) -> Sequence[str]:
    """The names of what is to be measured. Raises BenchError."""
    if options.only:
        wanted = options.only.split(",")
        if unknown := [name for name in wanted if name not in NAMES]:
            raise BenchError(f"--only {','.join(unknown)}: unknown; there are {', '.join(NAMES)}")
        return [name for name in NAMES if name in wanted]
    ordinary = [name for name, workload in WORKLOADS.items() if not workload.extra]
    return [*ordinary, MEMORY, *(SERIES if options.growth else ())]


def about(compared: Sequence[Server], rounds: int) -> Mapping[str, Any]:
    """What the figures depend on."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    facts: dict[str, Any] = {
        "Measured": dt.datetime.now(tz=dt.UTC).strftime("%Y-%m-%d"),
        "commit": commit or "unknown",
        "Python": platform.python_version(),
        "processors": f"{os.cpu_count()}, servers on {processors()[0]}, backend and clients on {processors()[1]}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "rounds": rounds,
    }
    if compared[0].name == report.FLOOR:
        version = subprocess.run([compared[0].command.split()[0], "-v"], capture_output=True, text=True, check=False)
        facts["nginx"] = version.stderr.strip().rpartition("/")[2]
    return facts


def write(found: Mapping[str, Any], targeted: Sequence[str], out: Path) -> None:
    """Print the tables, and write them, all figures and the plots."""
    parts = [report.about(found["about"])]
    if found["workloads"]:
        parts.append(report.workloads(found["workloads"], targeted))
    if found[MEMORY]:
        parts.append(report.memory(found[MEMORY], targeted))
    for name, series in found["growth"].items():
        drawn = report.plot(series, out / f"{name}.svg")
        if not drawn:
            tell("no plots without matplotlib: pip install '.[bench]'")
        parts.append(report.growth(series, f"{name}.svg" if drawn else None))
    text = "\n\n".join(parts) + "\n"
    print(text, end="")
    (out / "bench.md").write_text(text)
    figures = {**found, "growth": {name: asdict(series) for name, series in found["growth"].items()}}
    (out / "bench.json").write_text(json.dumps(figures, indent=1) + "\n")
    tell(f"written to {out}: bench.md, bench.json")


def tell(text: str) -> None:
    """What happens, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def _raise_limit_of_files() -> None:
    """A stream takes two files of the gateway; what is started from here has the limit, too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _rounds(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given}: must be a whole number of at least 1")
    return int(given)


def _part(given: str) -> float:
    try:
        part = float(given)
    except ValueError:
        part = 0
    if not 0 < part < float("inf"):
        raise argparse.ArgumentTypeError(f"{given}: must be a number greater than 0, such as 0.5 for half")
    return part


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=_rounds, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"just these, of {', '.join(NAMES)}")
    parser.add_argument("--growth", action="store_true", help="also how the cost grows (some ten minutes)")
    parser.add_argument(
        "--gateway",
        action="append",
        default=[],
        metavar="[NAME=]COMMAND",
        help="a gateway to measure, instead of this checkout's; several are compared. BACKEND_URL and HOST_PORT are set",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME[@PREFIX]=COMMAND",
        help="another server of /v1/messages; {port} and {backend} (the backend's port) in the command are filled in, "
        "PREFIX is put in front of models' names",
    )
    parser.add_argument("--no-nginx", dest="nginx", action="store_false", help="absolute figures only")
    parser.add_argument("--scale", type=_part, default=1.0, help="which part of each workload's requests (default: 1)")
    parser.add_argument("--out", type=Path, default=ROOT / ".benchmarks", metavar="DIR", help="default: .benchmarks")
    return parser


if __name__ == "__main__":
    if not sys.platform.startswith("linux") or not shutil.which("taskset"):
        raise SystemExit("the bench reads /proc and needs taskset: it runs on Linux only")
    # what was started must end, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("run.py: ended by a signal"))
    try:
        main(parser().parse_args())
    except (BenchError, OSError) as error:
        raise SystemExit(f"run.py: {error}") from None
