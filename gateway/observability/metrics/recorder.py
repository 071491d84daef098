"""Counts requests: once for each request, at its end, and nothing for an event of a stream.

A request costs one to two microseconds: a few additions in the worker's row of counters, which `exposition` publishes.
Labels have few values: paths are those of the routes, and models those of the backend's list, at most `MOST_MODELS` of
them; everything else is `other`.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from aiohttp import web

from gateway.anthropic.writer import Usage
from gateway.interprocess.counters import Counters
from gateway.observability.metrics.series import (
    BACKEND_ERRORS,
    DISCONNECTS,
    DROPPED_LINES,
    DURATION,
    FROM_THE_START,
    LAG,
    MODEL,
    REQUESTS,
    RETRIES,
    STREAMING,
    TRANSITIONS,
    WAITING,
    SeriesGroup,
)
from gateway.record.api_paths import api_path
from gateway.record.request_record import RequestRecord
from gateway.translate.refusals.faults import kind_of

MOST_MODELS: Final = 50
OTHER: Final = "other"
# the longest model name used as a label; no real name is longer
_LABEL_CHARACTERS: Final = 200
# names whose cells are remembered; for others they are looked up each time
_MOST_KNOWN: Final = 1000

_BOUNDS: Final = DURATION.series[0].bounds
_FIRST_BOUNDS, _TOKEN_BOUNDS, _STREAM_BOUNDS = (series.bounds for series in MODEL.series[:3])
_FIRST, _PER_TOKEN, _STREAM, _INPUT, _CACHED, _OUTPUT = MODEL.offsets
_LAG_BOUNDS: Final = LAG.series[0].bounds


class Metrics:
    """Counts one worker's events. `is_listed` tells whether the backend's list has a model."""

    def __init__(self, counters: Counters, is_listed: Callable[[str], bool]) -> None:
        self._counters = counters
        self._cells = counters.cells
        self._is_listed = is_listed
        self._requests: dict[tuple[str, int | None, str], int] = {}
        self._durations: dict[str, int] = {}
        self._models: dict[str | None, int] = {}
        for group, labels in FROM_THE_START:
            self._find(group, *labels)
        self._lag = self._find(LAG)

    def ended(self, request: web.Request, record: RequestRecord, status: int | None) -> None:
        """A request is over. `status` is None if the client left before it got a response."""
        now = time.perf_counter()
        cells = self._cells
        path = _path(request)
        outcome = record.outcome
        at = self._requests.get((path, status, outcome))
        if at is None:
            shown = "none" if status is None else str(status)
            at = self._requests[path, status, outcome] = self._find(REQUESTS, path, shown, outcome)
        cells[at] += 1
        at = self._durations.get(path)
        if at is None:
            at = self._durations[path] = self._find(DURATION, path)
        self._observe(at, _BOUNDS, now - record.started)
        if record.usage is not None:
            self._answered(record, record.usage, now)
        if outcome == "client_gone":
            self._count(DISCONNECTS, WAITING if record.first_event is None else STREAMING)

    def backend_failed(self, fault: Exception) -> None:
        """A call to the backend failed."""
        self._count(BACKEND_ERRORS, kind_of(fault))

    def backend_retried(self, fault: Exception) -> None:
        """A call that failed with `fault` is retried."""
        self._count(RETRIES, kind_of(fault))

    def breaker_changed(self, old: str, new: str) -> None:
        """The circuit breaker's state changed."""
        self._count(TRANSITIONS, old, new)

    def line_dropped(self) -> None:
        """A line of the log was dropped."""
        self._count(DROPPED_LINES)

    def loop_lagged(self, seconds: float) -> None:
        """A timer of the event loop fired this many seconds late."""
        self._observe(self._lag, _LAG_BOUNDS, seconds)

    def _answered(self, record: RequestRecord, usage: Usage, now: float) -> None:
        cells = self._cells
        at = self._models.get(record.backend_model)
        if at is None:
            at = self._find_model(record.backend_model)
        cells[at + _INPUT] += usage.input_tokens
        cells[at + _CACHED] += usage.cache_read_input_tokens
        cells[at + _OUTPUT] += usage.output_tokens
        answered = record.answered
        if not record.stream or answered is None or record.outcome != "ok":
            return
        first = record.first_content
        self._observe(at + _STREAM, _STREAM_BOUNDS, now - record.started)
        self._observe(at + _FIRST, _FIRST_BOUNDS, (first or answered) - record.started)
        # an answer that came in one piece has no time between tokens
        if first is not None and usage.output_tokens > 1:
            self._observe(at + _PER_TOKEN, _TOKEN_BOUNDS, (answered - first) / (usage.output_tokens - 1))

    def _find_model(self, model: str | None) -> int:
        """The first cell of a model's counters, or of `other`."""
        if model is None or len(model) > _LABEL_CHARACTERS or not self._is_listed(model):
            return self._find(MODEL, OTHER)
        known = {name[1] for name in self._counters.table.totals() if name[0] == MODEL.name} - {OTHER}
        label = model if model in known or len(known) < MOST_MODELS else OTHER
        at = self._find(MODEL, label)
        # only listed names: clients may invent any number of others, and over time a backend may, too
        if len(self._models) < _MOST_KNOWN:
            self._models[model] = at
        return at

    def _find(self, group: SeriesGroup, *labels: str) -> int:
        return self._counters.find((group.name, *labels), group.width)

    def _count(self, group: SeriesGroup, *labels: str) -> None:
        self._cells[self._find(group, *labels)] += 1

    def _observe(self, at: int, bounds: tuple[float, ...], value: float) -> None:
        """Add to a histogram, whose cells are its sum, then one for each bucket."""
        self._cells[at] += value
        self._cells[at + 1 + bisect_left(bounds, value)] += 1


METRICS: Final = web.AppKey("metrics", Metrics)


def _path(request: web.Request) -> str:
    """The route's path, with placeholders instead of the client's values."""
    resource = request.match_info.route.resource
    return OTHER if resource is None else api_path(resource.canonical)
