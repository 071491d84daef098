"""The types of the event feed: the gateway writes them, `claude-gateway watch` reads them.

They contain no prompt, answer, token or key. A reader that is older or newer than the gateway ignores unknown fields
and uses the defaults for missing ones. Fields that end with `_at` are seconds since 1970; `_seconds` and `_ms` are
durations.
"""

from typing import Literal

from msgspec import Struct, field

RequestState = Literal["waiting", "thinking", "writing", "calling a tool", "ending"]
# offered: the model list says that it thinks; seen: an answer contained thinking
Thinking = Literal["", "offered", "seen"]


class Running(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A request in progress. Tokens are estimated from the bytes sent to the client."""

    id: str
    model: str = ""
    client: str = ""
    state: RequestState = "waiting"
    stream: bool = True
    age_seconds: float = 0.0
    first_event_ms: float | None = None
    bytes: int = 0
    tokens: int = 0
    tokens_per_second: float = 0.0
    retries: int = 0


class Finished(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A finished request. `outcome` and `error` are those of its log line; `status` is None if the client left before
    it got a response. `tokens_per_second` is measured from the first event on.
    """

    id: str
    ended_at: float
    outcome: str
    model: str = ""
    client: str = ""
    status: int | None = None
    stream: bool = False
    stop_reason: str | None = None
    error: str | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    first_event_ms: float | None = None
    duration_ms: float = 0.0
    tokens_per_second: float | None = None
    bytes: int = 0


class Failure(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An error: how often it occurred, when last, and what to do about it."""

    last_at: float
    outcome: str
    text: str
    advice: str = ""
    status: int | None = None
    count: int = 1


class Totals(Struct, kw_only=True):
    """Totals since the start of the workers that are running now."""

    requests: int = 0
    ok: int = 0
    failed: int = 0
    client_gone: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: "Totals") -> None:
        """Add another worker's totals."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Sample(Struct, frozen=True, kw_only=True):
    """One worker's view at one moment. `in_flight` counts all requests in progress, `requests` has the oldest."""

    sampled_at: float
    in_flight: int = 0
    requests: list[Running] = []
    finished: list[Finished] = []
    failures: list[Failure] = []
    totals: Totals = field(default_factory=Totals)
    tokens_per_second: float = 0.0
    thinkers: list[str] = []


class ModelStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model of the backend; None and "" mean unknown."""

    id: str
    context_window: int | None = None
    max_tokens: int | None = None
    images: bool | None = None
    thinking: Thinking = ""


class GatewayStatus(Struct, frozen=True, kw_only=True):
    """The gateway itself. `workers`: the number of serving processes; `workers_seen`: how many of them this state
    covers; `keys`: whether clients need a key of the gateway.
    """

    version: str = ""
    started_at: float = 0.0
    workers: int = 1
    workers_seen: int = 1
    keys: bool = False
    stopping: bool = False


class BackendStatus(Struct, frozen=True, kw_only=True):
    """The backend. `reached`: whether it has answered at least once; `models`: their number, None until it has given
    its list.
    """

    url: str = ""
    reached: bool = False
    models: int | None = None


class BreakerState(Struct, frozen=True, kw_only=True):
    """The circuit breaker; of several workers, the one in the worst state."""

    state: str = "disabled"
    failures: int = 0
    opened: int = 0


class State(Struct, frozen=True, kw_only=True):
    """The whole state. `rates`: tokens per second of all answers together, a value for each second, the newest last."""

    gateway: GatewayStatus = GatewayStatus()
    backend: BackendStatus = BackendStatus()
    breaker: BreakerState = BreakerState()
    in_flight: int = 0
    requests: list[Running] = []
    finished: list[Finished] = []
    failures: list[Failure] = []
    totals: Totals = field(default_factory=Totals)
    rates: list[float] = []
    models: list[ModelStatus] = []
