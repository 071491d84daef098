"""Renders the state as a terminal screen."""

import time
from collections.abc import Iterable
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.commands.watch.reader import News
from gateway.commands.watch.text import ago, duration, marks, outcome, rate, short, sparkline
from gateway.observability.status.state import Failure, Finished, ModelStatus, Running, State

_ACCENT: Final = "cyan"
_TONES: Final = {"open": "bold red", "half-open": "yellow", "closed": _ACCENT}
_OUTCOME_TONES: Final = {"ok": "default", "client_gone": "yellow"}
_STATE_TONES: Final = {"waiting": "dim"}
_MOST_MODELS: Final = 8
_MOST_FAILURES: Final = 4
_LEAST_FINISHED: Final = 3


class Screen:
    """The whole state if `whole`, otherwise as much as the terminal has lines for."""

    def __init__(self, url: str, news: News, *, whole: bool = False) -> None:
        self._url = url
        self._news = news
        self._whole = whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the sections from top to bottom; the finished requests get the lines that the others leave."""
        state, now = self._news.state, time.time()
        above = [self._head(now), *_notes(self._news), _tiles(state, options.max_width), _running(state.requests)]
        below = [_failures(state.failures, now), _models(state.models)]
        room = len(state.finished)
        if not self._whole:
            used = len(console.render_lines(Group(*above, *below), options, pad=False))
            # room for a heading, the column names and blank lines
            room = max(_LEAST_FINISHED, options.size.height - used - 4)
        yield Group(*above, _finished(state.finished[:room], now), *below)

    def _head(self, now: float) -> RenderableType:
        state = self._news.state
        return Text.assemble(
            ("claude-gateway ", "bold"),
            (state.gateway.version, "dim"),
            (f"  {self._url}", _ACCENT),
            (f"  in front of {state.backend.url}", "dim"),
            (f"  up {duration(max(0.0, now - state.gateway.started_at))}", "dim"),
            overflow="fold",
        )


def _notes(news: News) -> Iterable[RenderableType]:
    state = news.state
    if not news.connected:
        yield Text("connection lost, trying again: this is the last known state", "bold red")
    if state.gateway.stopping:
        yield Text("the gateway is shutting down: answers in progress are being finished", "yellow")
    if not state.backend.reached:
        yield Text("the backend has not been reached yet: check that it is running, and check BACKEND_URL", "bold red")
    if state.breaker.state == "open":
        yield Text("the circuit breaker is open: the gateway sends the backend no requests for a moment", "bold red")
    if state.gateway.workers_seen < state.gateway.workers:
        yield Text(f"{state.gateway.workers_seen} of {state.gateway.workers} workers are shown", "yellow")


def _tiles(state: State, width: int) -> RenderableType:
    totals, breaker = state.totals, state.breaker
    now = state.rates[-1] if state.rates else 0.0
    cached = f" ({short(totals.cached_tokens)} cached)" if totals.cached_tokens else ""
    line = Text.assemble(
        (f"{state.in_flight}", "bold"), " in progress   ",
        (f"≈ {rate(now)}", "bold"), " tokens/s   ",
        (f"{short(totals.requests)}", "bold"), f" requests, {totals.failed} failed   ",
        (f"{short(totals.input_tokens + totals.cached_tokens)}", "bold"), f" tokens in{cached}, ",
        (f"{short(totals.output_tokens)}", "bold"), " out   breaker ",
        (breaker.state, _TONES.get(breaker.state, "dim")),
        overflow="fold",
    )  # fmt: skip
    bars = Text(sparkline(state.rates, min(120, width)), _ACCENT, no_wrap=True)
    return Padding(Group(line, bars), (1, 0, 0, 0))


def _table(title: str, *columns: tuple[str, str], heads: bool = True) -> Table:
    table = Table(
        title=title, show_header=heads, title_justify="left", title_style="bold", box=None, expand=True, pad_edge=False
    )
    for number, (name, side) in enumerate(columns):
        table.add_column(
            name,
            justify="right" if side == "right" else "left",
            header_style="dim",
            no_wrap=True,
            overflow="ellipsis",
            ratio=None if number else 1,
        )
    return table


def _below(title: str, none: str, table: Table, *, empty: bool) -> RenderableType:
    shown = Group(Text(title, "bold"), Text(none, "dim")) if empty else table
    return Padding(shown, (1, 0, 0, 0))


def _running(requests: list[Running]) -> RenderableType:
    columns = (("model", ""), ("client", ""), ("state", ""), ("age", "right"), ("first", "right"), ("tokens", "right"))
    table = _table("In progress", *columns, ("/s", "right"))
    for one in requests:
        table.add_row(
            Text(one.model or "…"),
            Text(one.client),
            Text(one.state, _STATE_TONES.get(one.state, _ACCENT)),
            duration(one.age_seconds),
            _milliseconds(one.first_event_ms),
            f"≈ {short(one.tokens)}" if one.tokens else "-",
            rate(one.tokens_per_second) if one.tokens else "-",
        )
    return _below("In progress", "nothing is being answered right now", table, empty=not requests)


def _finished(finished: list[Finished], now: float) -> RenderableType:
    columns = (("model", ""), ("client", ""), ("outcome", ""), ("ended", "right"), ("first", "right"))
    table = _table("Finished", *columns, ("took", "right"), ("in", "right"), ("out", "right"), ("/s", "right"))
    for ended in finished:
        told = ended.input_tokens is not None
        table.add_row(
            Text(ended.model or "-"),
            Text(ended.client),
            Text(outcome(ended), _OUTCOME_TONES.get(ended.outcome, "red")),
            ago(now - ended.ended_at),
            _milliseconds(ended.first_event_ms),
            duration(ended.duration_ms / 1000),
            short((ended.input_tokens or 0) + (ended.cached_tokens or 0)) if told else "-",
            short(ended.output_tokens or 0) if told else "-",
            rate(ended.tokens_per_second) if ended.tokens_per_second is not None else "-",
        )
    return _below("Finished", "no request has finished yet", table, empty=not finished)


def _failures(failures: list[Failure], now: float) -> RenderableType:
    lines: list[RenderableType] = []
    for failure in failures[:_MOST_FAILURES]:
        status = f"{failure.status} " if failure.status not in (None, 200) else ""
        times = f", {failure.count} times" if failure.count > 1 else ""
        when = f"  {ago(now - failure.last_at)}{times}"
        lines += [
            Text.assemble((status, "bold red"), failure.text, (when, "dim"), overflow="fold"),
            Padding(Text(failure.advice, _ACCENT, overflow="fold"), (0, 0, 0, 2)),
        ]
    return Padding(Group(Text("Recent errors", "bold"), *(lines or [Text("none", "dim")])), (1, 0, 0, 0))


def _models(models: list[ModelStatus]) -> RenderableType:
    table = _table("Models", ("model", ""), ("marks", ""), heads=False)
    for model in models[:_MOST_MODELS]:
        table.add_row(Text(model.id), marks(model))
    if len(models) > _MOST_MODELS:
        table.add_row(Text(f"and {len(models) - _MOST_MODELS} more", "dim"), "")
    return _below("Models", "the backend has given no list yet", table, empty=not models)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else duration(value / 1000)
