"""The table of counters and histograms that a worker keeps, with their labels and buckets.

A group is counted together, under one set of labels. It has one cell for each counter and, for each histogram, one for
the sum and one for each bucket. Times are in seconds. Names follow Prometheus' rules
(https://prometheus.io/docs/practices/naming/). The two that describe a model's speed are what OpenTelemetry's
conventions for generative AI call time to first token and time per output token.
"""

from itertools import accumulate
from typing import Final, NamedTuple

PREFIX: Final = "claude_gateway_"

_SECONDS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
)
_FIRST_TOKEN: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
_PER_TOKEN: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
_STREAM: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
_LAG: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Series(NamedTuple):
    """One counter or, with `bounds`, one histogram. `bounds` are the upper bounds of all buckets but the last.

    `fixed` is a label (name, value) that distinguishes series of the same name within a group.
    """

    name: str
    help: str
    bounds: tuple[float, ...] = ()
    fixed: tuple[str, str] | None = None

    @property
    def width(self) -> int:
        """The number of its cells."""
        return 2 + len(self.bounds) if self.bounds else 1


class SeriesGroup(NamedTuple):
    """Series that are counted together."""

    name: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]

    @property
    def width(self) -> int:
        """The number of its cells."""
        return sum(series.width for series in self.series)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The first cell of each series."""
        return tuple(accumulate((series.width for series in self.series), initial=0))[:-1]


def _counter(name: str, help_: str, **fixed: str) -> Series:
    return Series(PREFIX + name, help_, fixed=next(iter(fixed.items()), None))


_TOKENS: Final = (
    "Tokens of complete answers, as the backend counts them: input that was not cached, input from the backend's "
    "cache, output."
)

REQUESTS: Final = SeriesGroup(
    "requests",
    ("path", "status", "outcome"),
    (
        _counter(
            "requests_total",
            "Finished requests. outcome: ok, refused (by the gateway), backend_fault, client_gone; status: the HTTP "
            "status, none if the client left before it got one.",
        ),
    ),
)
DURATION: Final = SeriesGroup(
    "duration",
    ("path",),
    (Series(PREFIX + "request_duration_seconds", "Time from a request's headers to the end of its answer.", _SECONDS),),
)
MODEL: Final = SeriesGroup(
    "model",
    ("model",),
    (
        Series(
            PREFIX + "time_to_first_token_seconds",
            "Time from a request for a stream to its first content, for complete streams.",
            _FIRST_TOKEN,
        ),
        Series(
            PREFIX + "time_per_output_token_seconds",
            "Time from a stream's first content to its end, divided by its output tokens except the first; one value "
            "for each complete stream.",
            _PER_TOKEN,
        ),
        Series(
            PREFIX + "stream_duration_seconds",
            "Time from a request for a stream to its end, for complete streams.",
            _STREAM,
        ),
        _counter("tokens_total", _TOKENS, type="input"),
        _counter("tokens_total", _TOKENS, type="cached_input"),
        _counter("tokens_total", _TOKENS, type="output"),
    ),
)
BACKEND_ERRORS: Final = SeriesGroup(
    "backend_errors",
    ("kind",),
    (_counter("backend_errors_total", "Failed calls to the backend by kind of failure; each try counts."),),
)
RETRIES: Final = SeriesGroup(
    "retries",
    ("reason",),
    (_counter("backend_retries_total", "Retried calls to the backend by kind of the failure before."),),
)
TRANSITIONS: Final = SeriesGroup(
    "transitions",
    ("from", "to"),
    (_counter("circuit_breaker_transitions_total", "Changes of the circuit breaker's state, over all workers."),),
)
DISCONNECTS: Final = SeriesGroup(
    "disconnects",
    ("stage",),
    (
        _counter(
            "client_disconnects_total",
            "Clients that left before their answer was complete: while waiting for it, or while it was streaming.",
        ),
    ),
)
DROPPED_LINES: Final = SeriesGroup(
    "dropped_lines",
    (),
    (
        _counter(
            "log_lines_dropped_total",
            "Lines of the log that were dropped because standard error did not take them in time.",
        ),
    ),
)
LAG: Final = SeriesGroup(
    "lag",
    (),
    (
        Series(
            PREFIX + "event_loop_lag_seconds",
            "How late a timer fires, measured ten times a second: how long streams wait for other work.",
            _LAG,
        ),
    ),
)

GROUPS: Final = {
    group.name: group
    for group in (REQUESTS, DURATION, MODEL, BACKEND_ERRORS, RETRIES, TRANSITIONS, DISCONNECTS, DROPPED_LINES, LAG)
}

KINDS: Final = (
    "unreachable",
    "timeout",
    "overloaded",
    "rate_limit",
    "server_error",
    "bad_answer",
    "misconfigured",
    "authentication",
    "permission",
    "billing",
    "not_found",
    "invalid_request",
    "request_too_large",
    "conflict",
)
WAITING: Final = "waiting"
STREAMING: Final = "streaming"

# created at the start: a rate misses the first failure of a series that begins with it
FROM_THE_START: Final = (
    (LAG, ()),
    (DROPPED_LINES, ()),
    *((BACKEND_ERRORS, (kind,)) for kind in KINDS),
    *((RETRIES, (kind,)) for kind in KINDS[:6]),
    *((DISCONNECTS, (stage,)) for stage in (WAITING, STREAMING)),
    *(
        (TRANSITIONS, change)
        for change in (("closed", "open"), ("open", "half-open"), ("half-open", "open"), ("half-open", "closed"))
    ),
)
