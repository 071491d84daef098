"""The circuit breaker around calls to the backend.

pybreaker holds the state: closed, open or half-open, the number of failures in a row, and when it opened. Its own ways
to make calls are for blocking functions or Tornado, and they count an abandoned call as a success. So a call here asks
for a permit first, and reports its outcome once that is known. This adds two rules to pybreaker: while half-open, only
one call runs at a time; and a call that its client abandons is neither a success nor a failure.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

import pybreaker

from gateway.anthropic.errors import ApiError

StateListener = Callable[[str, str], None]


class BreakerOpen(ApiError):
    """The backend is not called: it failed too often recently. 529, with the seconds until it is tried again."""

    def __init__(self, seconds: float) -> None:
        wait = max(1, min(60, -int(-seconds // 1)))
        super().__init__(
            529,
            f"the backend failed several times in a row, and the circuit breaker stops calling it: try again in "
            f"{wait} s; `claude-gateway check` shows what is wrong with it",
            retry_after=wait,
        )


class BreakerStatus(NamedTuple):
    """`closed`, `open`, `half-open` or `disabled`; failures in a row; how often it has opened."""

    state: str
    failures: int
    opened: int


class Permit:
    """Permission to make one call. Of `succeeded`, `failed` and `abandoned`, only the first one called counts."""

    __slots__ = ("_breaker", "_on_fault", "_trial")

    def __init__(
        self, breaker: "Breaker | None", *, trial: bool, on_fault: Callable[[Exception], None] | None = None
    ) -> None:
        self._breaker = breaker
        self._trial = trial
        self._on_fault = on_fault

    def progressed(self) -> None:
        """The answer has begun, which makes a trial a success. Other calls are judged at their end."""
        if self._trial:
            self.succeeded()

    def succeeded(self) -> None:
        """The answer came, or the client's request was at fault: the backend works."""
        if breaker := self._take():
            breaker.report_success(trial=self._trial)

    def failed(self, error: Exception) -> None:
        """The backend failed."""
        if breaker := self._take():
            breaker.report_failure(error, trial=self._trial)

    def settle(self, error: Exception, *, counts: bool) -> None:
        """The call ended with an error. `counts`: it was the backend's failure, not only a problem of the request."""
        if self._on_fault is not None:
            self._on_fault(error)
        if counts:
            self.failed(error)
        else:
            self.succeeded()

    def abandoned(self) -> None:
        """The client left, which says nothing about the backend. Frees the trial's place."""
        if breaker := self._take():
            breaker.report_nothing(trial=self._trial)

    def _take(self) -> "Breaker | None":
        breaker, self._breaker = self._breaker, None
        return breaker


class Breaker:
    """Says whether the backend may be called. If not enabled, it always may."""

    def __init__(
        self, *, enabled: bool, fail_max: int, reset_seconds: float, on_change: StateListener | None = None
    ) -> None:
        """`on_change` is called with (old state, new state) at each change. `on_update`, if set, is called with the
        status whenever it may have changed; `on_fault`, if set, with each error that ended a call, even if not enabled.
        """
        self.enabled = enabled
        self.on_fault: Callable[[Exception], None] | None = None
        self.on_update: Callable[[BreakerStatus], None] | None = None
        self._listener = _Listener(on_change)
        self._storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=fail_max,
            reset_timeout=reset_seconds,
            state_storage=self._storage,
            listeners=[self._listener],
            throw_new_error_on_trip=False,
        )
        self._trial_runs = False

    def watch(self, on_change: StateListener) -> None:
        """Add a listener for changes of state."""
        self._listener.on_change.append(on_change)

    @property
    def state(self) -> str:
        """`closed`, `open`, `half-open` or `disabled`."""
        return str(self._breaker.current_state) if self.enabled else "disabled"

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._breaker.fail_counter

    @property
    def status(self) -> BreakerStatus:
        """The state, the failures in a row, and how often the breaker has opened."""
        return BreakerStatus(self.state, self.failures, self._listener.opened)

    @property
    def refuses(self) -> bool:
        """Whether every call would be refused now: open, and too soon for a trial."""
        return self.state == pybreaker.STATE_OPEN and self._seconds_left() > 0

    def admit(self) -> Permit:
        """A permit for one call. Raises BreakerOpen."""
        if not self.enabled:
            return Permit(None, trial=False, on_fault=self.on_fault)
        if self._breaker.current_state == pybreaker.STATE_OPEN:
            if (left := self._seconds_left()) > 0:
                raise BreakerOpen(left)
            self._breaker.half_open()
            self._tell()
        if self._breaker.current_state == pybreaker.STATE_CLOSED:
            return Permit(self, trial=False, on_fault=self.on_fault)
        if self._trial_runs:
            raise BreakerOpen(1)
        self._trial_runs = True
        return Permit(self, trial=True, on_fault=self.on_fault)

    def report_success(self, *, trial: bool) -> None:
        """A call succeeded."""
        if not trial and not self._breaker.fail_counter:
            # changes nothing, whatever the state
            return
        if self._counts(trial=trial):
            self._breaker.call(_succeed)
            self._tell()

    def report_failure(self, error: Exception, *, trial: bool) -> None:
        """A call failed through the backend's fault."""
        if self._counts(trial=trial):
            try:
                self._breaker.call(_fail, error)
            except Exception as raised:
                if raised is not error:
                    raise
            self._tell()

    def report_nothing(self, *, trial: bool) -> None:
        """A call ended without saying anything about the backend."""
        self._counts(trial=trial)

    def _tell(self) -> None:
        if self.on_update is not None:
            self.on_update(self.status)

    def _counts(self, *, trial: bool) -> bool:
        """Whether an outcome counts: a trial's always does; others only while closed, as they began before a change."""
        if trial:
            self._trial_runs = False
        return trial or self._breaker.current_state == pybreaker.STATE_CLOSED

    def _seconds_left(self) -> float:
        opened = self._storage.opened_at
        passed = (datetime.now(UTC) - opened).total_seconds() if opened else self._breaker.reset_timeout
        return float(self._breaker.reset_timeout - passed)


class _Listener(pybreaker.CircuitBreakerListener):
    """Counts changes of state, and passes them on."""

    def __init__(self, on_change: StateListener | None) -> None:
        self.on_change = [] if on_change is None else [on_change]
        self.opened = 0

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:  # noqa: ARG002  # pybreaker's signature
        """pybreaker's hook."""
        self.opened += new_state.name == pybreaker.STATE_OPEN
        for on_change in self.on_change:
            on_change(old_state.name if old_state else "", new_state.name)


def _succeed() -> None:
    """A successful call, for pybreaker to count."""


def _fail(error: Exception) -> NoReturn:
    raise error
