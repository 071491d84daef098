"""The report: rows in the terminal as they are found, or all of them as JSON at the end."""

import json
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from gateway.commands.check.rows import Mark, Row

_MARKS: Final[dict[Mark, tuple[str, str]]] = {
    "good": ("✓", "green"),
    "partly": ("~", "yellow"),
    "bad": ("✗", "bold red"),
    "unknown": ("!", "yellow"),
    "skipped": ("-", "dim"),
}
_LEGEND: Final = "✓ works   ~ works partly   ✗ does not work   ! unknown"
_TITLE_WIDTH: Final = 15
_MANY: Final = 8


class Summary(Struct, frozen=True, kw_only=True):
    """The end of the report. `settings` are the gateway's and `client` Claude Code's; both are empty if the backend
    gave no answer. `profile`: the BACKEND_PROFILE to use.
    """

    version: str
    backend: str
    model: str
    profile: str
    complete: bool
    seconds: float
    requests: int
    input_tokens: int
    output_tokens: int
    settings: dict[str, str]
    client: dict[str, Any]


class Report(Protocol):
    """Shows rows as they are found."""

    def begin(self, title: str) -> None:
        """Note that this probe is running."""

    def add(self, row: Row) -> None:
        """Add a row."""

    def end(self, rows: Sequence[Row], summary: Summary) -> None:
        """Finish the report; no more rows follow."""


class TerminalReport:
    """For people: a line for each row, with the remedy below it."""

    def __init__(self, console: Console, backend: str) -> None:
        self._console = console
        self._status = Status("", console=console)
        self._skipped: list[str] = []
        console.print(Text.assemble(("claude-gateway check", "bold"), f"  {backend}\n"))

    def begin(self, title: str) -> None:
        """Show which probe is running, on a terminal that can erase the line again."""
        self._status.update(Text(f"{title} …", style="dim"))
        if self._console.is_terminal:
            self._status.start()

    def add(self, row: Row) -> None:
        """Print the row; skipped ones are collected for `end`."""
        self._status.stop()
        if row.mark == "skipped":
            self._skipped.append(row.title)
            return
        mark, style = _MARKS[row.mark]
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(width=_TITLE_WIDTH)
        table.add_column(ratio=1, overflow="fold")
        table.add_row(Text(mark, style), Text(row.title, "bold" if row.mark == "bad" else ""), Text(row.said))
        if row.remedy:
            table.add_row("", "", Text(f"→ {row.remedy}", "cyan" if row.mark == "bad" else "dim cyan"))
        self._console.print(table)

    def end(self, rows: Sequence[Row], summary: Summary) -> None:
        """Print the cost, the verdict, and the settings to use."""
        self._status.stop()
        put = self._console.print
        if self._skipped:
            others = f"the {len(self._skipped)} others, which depend on it"
            put(Text(f"- not tried: {', '.join(self._skipped) if len(self._skipped) < _MANY else others}", "dim"))
        put(Text(f"\n{_LEGEND}", "dim"))
        put(
            Text(
                f"{summary.requests} requests, {summary.input_tokens:,} tokens in and {summary.output_tokens:,} out, "
                f"{summary.seconds:.0f} s\n",
                "dim",
            )
        )
        put(_verdict(rows, summary))
        if summary.client:
            self._settings(summary)

    def _settings(self, summary: Summary) -> None:
        put = self._console.print
        put(Text.assemble("\n", ("The gateway", "bold"), f" (BACKEND_PROFILE: {summary.profile})\n"))
        words = " ".join(f"{name}={value}" for name, value in summary.settings.items())
        put(Text(f"  {words} claude-gateway"), soft_wrap=True)
        put(Text.assemble("\n", ("Claude Code", "bold"), ": put this into ~/.claude/settings.json\n"))
        put(Text(json.dumps(summary.client, indent=2)), soft_wrap=True)


class JSONReport:
    """For programs: one object on standard output. Progress goes to standard error if that is a terminal."""

    def __init__(self, progress: Console) -> None:
        self._progress = progress

    def begin(self, title: str) -> None:
        """Show the running probe on a terminal."""
        if self._progress.is_terminal:
            self._progress.print(Text(f"{title} …", "dim"))

    def add(self, row: Row) -> None:
        """Nothing yet: `end` writes all rows."""

    def end(self, rows: Sequence[Row], summary: Summary) -> None:
        """Write the object."""
        document = {
            "ok": exit_code(rows, summary) == 0,
            **msgspec.to_builtins(summary),
            "checks": [{**msgspec.to_builtins(row), "missing": row.missing} for row in rows],
        }
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def exit_code(rows: Sequence[Row], summary: Summary) -> int:
    """0 if Claude Code has all it needs, otherwise 1; also 1 if the check did not finish."""
    return 0 if summary.complete and not any(row.missing for row in rows) else 1


def _verdict(rows: Sequence[Row], summary: Summary) -> Text:
    missing = [row.title for row in rows if row.missing and row.mark == "bad"]
    if missing:
        return Text(f"Claude Code cannot work with this backend as it is: see {', '.join(missing)}.", "bold red")
    if exit_code(rows, summary):
        return Text("The check did not finish.", "bold yellow")
    losses = sum(row.mark != "good" for row in rows)
    return Text(
        "Claude Code works with this backend" + ("; see above for what is limited." if losses else "."), "bold green"
    )
