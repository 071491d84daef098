"""The bench's tables, in Markdown, and its plots."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from growth import Growth
from workloads import MEMORY_AIM, MEMORY_AT_LEAST, OPEN_STREAMS, START_AT_LEAST, WORKLOADS

Rounds = Mapping[str, Sequence[Mapping[str, float]]]
FLOOR = "nginx"
NONE = "-"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown that can be read as it is: columns are padded."""
    lines = [columns, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]

    def shown(line: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    return "\n".join(
        [shown(columns), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(shown, lines[1:])]
    )


def workloads(results: Mapping[str, Rounds], targeted: Sequence[str]) -> str:
    """A row for each workload and server but nginx. `targeted`: the servers that have targets."""
    columns = [
        "workload",
        "server",
        "CPU",
        "nginx",
        "times nginx",
        "least to most",
        "reach at least",
        "aim for",
        "first content, ms p50 / p99",
        "nginx's",
        "failed",
    ]
    return table(columns, [row for name, rounds in results.items() for row in _rows(name, rounds, targeted)])


def _rows(name: str, rounds: Rounds, targeted: Sequence[str]) -> Iterable[Sequence[str]]:
    workload, floor = WORKLOADS[name], rounds.get(FLOOR)
    for server, results in rounds.items():
        if server == FLOOR and len(rounds) > 1:
            continue
        times = ratios(results, floor) if floor else []
        wanted = (workload.at_least, workload.aim) if server in targeted else (None, None)
        yield [
            name,
            server,
            _cpu(results, workload.unit),
            _cpu(floor, workload.unit) if floor else NONE,
            f"{statistics.median(times):.2f}" if times else NONE,
            f"{min(times):.2f} to {max(times):.2f}" if times else NONE,
            *(_target(limit, statistics.median(times) if times else None) for limit in wanted),
            _first(results),
            _first(floor) if floor else NONE,
            str(sum(int(result["failed"]) for result in results)),
        ]


def ratios(results: Sequence[Mapping[str, float]], floor: Sequence[Mapping[str, float]]) -> list[float]:
    """Of each round: how many times nginx's CPU time."""
    return [mine["cpu_us"] / theirs["cpu_us"] for mine, theirs in zip(results, floor, strict=True) if theirs["cpu_us"]]


def memory(results: Rounds, targeted: Sequence[str]) -> str:
    """What an open stream takes, and how long a start."""
    rows = []
    for server, rounds in results.items():
        size = statistics.median(result["kib"] for result in rounds)
        start = min(result["start_seconds"] for result in rounds)
        limits = (MEMORY_AT_LEAST, MEMORY_AIM) if server in targeted else (None, None)
        wanted_start = START_AT_LEAST if server in targeted else None
        rows.append(
            [
                server,
                f"{size:.1f} KiB",
                *(_target(limit, size) for limit in limits),
                f"{start * 1000:.0f} ms",
                _target(wanted_start, start, 1000),
            ]
        )
    columns = [
        "server",
        f"memory per stream, {OPEN_STREAMS} open",
        "reach at least",
        "aim for",
        "from start to listening (least)",
        "reach at least",
    ]
    return table(columns, rows)


def _cpu(results: Sequence[Mapping[str, float]], unit: str) -> str:
    median = statistics.median(result["cpu_us"] for result in results)
    return f"{median:.2f} µs/{unit}" if unit == "event" else f"{median / 1000:.3f} ms/{unit}"


def _first(results: Sequence[Mapping[str, float]]) -> str:
    return " / ".join(f"{statistics.median(result[name] for result in results):.1f}" for name in FIRST)


FIRST = ("first_ms_p50", "first_ms_p99")


def _target(limit: float | None, figure: float | None, factor: float = 1) -> str:
    if limit is None:
        return NONE
    shown = f"{limit * factor:g}"
    return shown if figure is None else f"{shown} {'met' if figure <= limit else 'missed'}"


def growth(growth: Growth, plot: str | None) -> str:
    """A series as a table, with its plot's file if there is one."""
    rows = [
        [f"{row[0]:,.0f}", *(f"{figure:,.3g}" if figure < 100 else f"{figure:,.0f}" for figure in row[1:])]
        for row in growth.rows
    ]
    picture = f"\n\n![{growth.title}]({plot})" if plot else ""
    return f"### {growth.title}\n\n{table(growth.columns, rows)}{picture}"


def about(facts: Mapping[str, Any]) -> str:
    """On what, and how, it was measured."""
    return "; ".join(f"{name} {value}" for name, value in facts.items()) + "."


def plot(growth: Growth, path: Path) -> bool:
    """Draw a series as SVG. False without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("svg")
    # letters as letters, and nothing of the moment: the same figures give the same file
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.family": "sans-serif"})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for name in growth.plotted:
        at = growth.columns.index(name)
        axes.plot(
            [row[0] for row in growth.rows], [row[at] for row in growth.rows], marker="o", markersize=4, label=name
        )
    axes.set(xlabel=growth.columns[0], ylabel=growth.unit, title=growth.title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True
