"""What is measured, as data: every counter and histogram that a worker counts, its labels and its buckets.

A group is what is counted together, under one set of labels: it has a cell for each counter, and for each histogram
one for the sum and one for each bucket. Times are in seconds. Names follow Prometheus' rules
(https://prometheus.io/docs/practices/naming/); the two that describe a model's speed mean what OpenTelemetry's
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
    """One counter; with `bounds`, the upper ends of all buckets but the last, one histogram.

    `fixed` is a label, name and value, that tells apart series of one name in one group.
    """

    name: str
    help: str
    bounds: tuple[float, ...] = ()
    fixed: tuple[str, str] | None = None

    @property
    def width(self) -> int:
        """How many cells it takes."""
        return 2 + len(self.bounds) if self.bounds else 1


class SeriesGroup(NamedTuple):
    """What is counted together."""

    name: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]

    @property
    def width(self) -> int:
        """How many cells it takes."""
        return sum(series.width for series in self.series)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The first cell of each series."""
        return tuple(accumulate((series.width for series in self.series), initial=0))[:-1]


def _counter(name: str, help_: str, **fixed: str) -> Series:
    return Series(PREFIX + name, help_, fixed=next(iter(fixed.items()), None))


_TOKENS: Final = (
    "Tokens of answers that were whole, as the backend counts them: input that was not cached, input from the "
    "backend's cache, output."
)

REQUESTS: Final = SeriesGroup(
    "requests",
    ("path", "status", "outcome"),
    (
        _counter(
            "requests_total",
            "Finished requests. outcome: ok, refused (by the gateway), backend_fault, client_gone; status: what the "
            "client got, none if it left before.",
        ),
    ),
)
DURATION: Final = SeriesGroup(
    "duration",
    ("path",),
    (Series(PREFIX + "request_duration_seconds", "From a request's head to the end of its answer.", _SECONDS),),
)
MODEL: Final = SeriesGroup(
    "model",
    ("model",),
    (
        Series(
            PREFIX + "time_to_first_token_seconds",
            "From a request for a stream to its first content, for streams that were whole.",
            _FIRST_TOKEN,
        ),
        Series(
            PREFIX + "time_per_output_token_seconds",
            "A stream's time from its first content to its end, divided by its output tokens but the first; once for "
            "each stream that was whole.",
            _PER_TOKEN,
        ),
        Series(
            PREFIX + "stream_duration_seconds",
            "From a request for a stream to its end, for streams that were whole.",
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
    (
        _counter(
            "backend_errors_total", "Calls to the backend that failed, each try by itself, by the kind of failure."
        ),
    ),
)
RETRIES: Final = SeriesGroup(
    "retries",
    ("reason",),
    (
        _counter(
            "backend_retries_total", "Calls to the backend that were made again, by the failure of the one before."
        ),
    ),
)
TRANSITIONS: Final = SeriesGroup(
    "transitions",
    ("from", "to"),
    (_counter("circuit_breaker_transitions_total", "Changes of the circuit breaker's state, in all workers."),),
)
DISCONNECTS: Final = SeriesGroup(
    "disconnects",
    ("stage",),
    (
        _counter(
            "client_disconnects_total",
            "Clients that left before their answer was whole: while they waited, or in the middle of it.",
        ),
    ),
)
LAG: Final = SeriesGroup(
    "lag",
    (),
    (
        Series(
            PREFIX + "event_loop_lag_seconds",
            "How much later than due a timer fires, ten times a second: how long streams wait for other work.",
            _LAG,
        ),
    ),
)

GROUPS: Final = {
    group.name: group for group in (REQUESTS, DURATION, MODEL, BACKEND_ERRORS, RETRIES, TRANSITIONS, DISCONNECTS, LAG)
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

# there from the start: a rate cannot tell of a series that begins with its first failure
FROM_THE_START: Final = (
    (LAG, ()),
    *((BACKEND_ERRORS, (kind,)) for kind in KINDS),
    *((RETRIES, (kind,)) for kind in KINDS[:6]),
    *((DISCONNECTS, (stage,)) for stage in (WAITING, STREAMING)),
    *(
        (TRANSITIONS, change)
        for change in (("closed", "open"), ("open", "half-open"), ("half-open", "open"), ("half-open", "closed"))
    ),
)
