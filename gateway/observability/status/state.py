"""What the event feed tells, as types: the gateway writes them, `claude-gateway watch` reads them.

No prompt, no answer, no token and no key has a place here. A reader that is older or newer than the gateway skips what
it does not know, and takes the defaults for what is missing. Times are seconds since 1970, where they end with `_at`,
or seconds and milliseconds that passed.
"""

from typing import Literal

from msgspec import Struct, field

RequestState = Literal["waiting", "thinking", "writing", "calling a tool", "ending"]
# a list that was said to hold reasoning models, or an answer that was seen to think
Thinking = Literal["", "offered", "seen"]


class Running(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A request that is being answered. Tokens are estimated from the bytes that went out."""

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
    """A request that was answered. `outcome` and `error` are those of its log line; `status` is None if the client
    left before there was one. `tokens_per_second` counts from the first event on.
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
    """An error, how often it came, when last, and what to do about it."""

    last_at: float
    outcome: str
    text: str
    advice: str = ""
    status: int | None = None
    count: int = 1


class Totals(Struct, kw_only=True):
    """Since the start, of the processes that run now."""

    requests: int = 0
    ok: int = 0
    failed: int = 0
    client_gone: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: "Totals") -> None:
        """Count another process's, too."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Sample(Struct, frozen=True, kw_only=True):
    """What one process sees at one moment. `in_flight` counts all, `requests` shows the oldest."""

    sampled_at: float
    in_flight: int = 0
    requests: list[Running] = []
    finished: list[Finished] = []
    failures: list[Failure] = []
    totals: Totals = field(default_factory=Totals)
    tokens_per_second: float = 0.0
    thinkers: list[str] = []


class ModelStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that the backend has; None and "" where nothing is known."""

    id: str
    context_window: int | None = None
    max_tokens: int | None = None
    images: bool | None = None
    thinking: Thinking = ""


class GatewayStatus(Struct, frozen=True, kw_only=True):
    """The gateway itself. `workers`: how many processes serve; `keys`: whether it gives out keys of its own."""

    version: str = ""
    started_at: float = 0.0
    workers: int = 1
    workers_seen: int = 1
    keys: bool = False
    stopping: bool = False


class BackendStatus(Struct, frozen=True, kw_only=True):
    """The backend. `reached`: it has answered at least once; `models`: how many, None before it gave its list."""

    url: str = ""
    reached: bool = False
    models: int | None = None


class BreakerState(Struct, frozen=True, kw_only=True):
    """The circuit breaker; of several processes, the worst."""

    state: str = "disabled"
    failures: int = 0
    opened: int = 0


class State(Struct, frozen=True, kw_only=True):
    """All that the feed tells. `rates`: tokens a second of all answers, a value for each second, the newest last."""

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
