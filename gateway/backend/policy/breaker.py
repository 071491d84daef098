"""The circuit breaker around calls to the backend: one circuit for each model, and one for the connection.

A model that fails says nothing about the others, so its failures open its own circuit. A backend that cannot be reached
(`BackendFault.taken` is false) can be reached for no model: that counts for the connection, and any answer ends it.

pybreaker holds the state of a circuit: closed, open or half-open, and the number of failures in a row. Its own ways to
make calls are for blocking functions or Tornado, and they count an abandoned call as a success. So a call here asks for
a permit first, and reports its outcome once that is known. This differs from pybreaker in three rules: while half-open,
one call runs at a time, until it has shown no result for `trial_seconds`; a call that its client abandons is neither a
success nor a failure; and time is a monotonic clock's, because the wall clock may be set.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import pybreaker

from gateway.anthropic.errors import ApiError
from gateway.translate.refusals.faults import BackendFault

# The models whose circuits are kept, the last called ones. Clients of a backend without a list may name any.
_MOST_MODELS: Final = 256
# from best to worst
_STATES: Final = (pybreaker.STATE_CLOSED, pybreaker.STATE_HALF_OPEN, pybreaker.STATE_OPEN)

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

    __slots__ = ("_breaker", "_model", "_on_fault", "_trials")

    def __init__(
        self,
        breaker: "Breaker | None",
        model: str = "",
        trials: Sequence["_Circuit"] = (),
        on_fault: Callable[[Exception], None] | None = None,
    ) -> None:
        """`trials`: the circuits that are half-open and wait for the outcome."""
        self._breaker = breaker
        self._model = model
        self._trials = trials
        self._on_fault = on_fault

    def progressed(self) -> None:
        """The answer has begun, which makes a trial a success. Other calls are judged at their end."""
        if self._trials:
            self.succeeded()

    def succeeded(self) -> None:
        """The answer came, or the client's request was at fault: the backend works."""
        if breaker := self._take():
            breaker.report_success(self._model, self._trials)

    def failed(self, error: Exception) -> None:
        """The backend failed."""
        if breaker := self._take():
            breaker.report_failure(error, self._model, self._trials)

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
        if self._take():
            for circuit in self._trials:
                circuit.free(self._trials)

    def _take(self) -> "Breaker | None":
        breaker, self._breaker = self._breaker, None
        return breaker


class Breaker:
    """Says whether the backend may be called for a model. If not enabled, it always may."""

    def __init__(
        self,
        *,
        enabled: bool,
        fail_max: int,
        reset_seconds: float,
        trial_seconds: float = 30.0,
        on_change: StateListener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`trial_seconds`: how long a trial may take to show a result before another one is let through.

        `on_change` is called with (old state, new state) at each change of a circuit. `on_update`, if set, is called
        with the status whenever it may have changed; `on_fault`, if set, with each error that ended a call, even if not
        enabled.
        """
        self.enabled = enabled
        self.on_fault: Callable[[Exception], None] | None = None
        self.on_update: Callable[[BreakerStatus], None] | None = None
        self._times = _Times(fail_max, reset_seconds, trial_seconds, clock)
        self._listener = _Listener(on_change)
        self._connection = _Circuit(self._times, self._listener)
        # from the model called longest ago to the last one
        self._models: dict[str, _Circuit] = {}

    def watch(self, on_change: StateListener) -> None:
        """Add a listener for changes of state."""
        self._listener.on_change.append(on_change)

    @property
    def state(self) -> str:
        """`closed`, `open`, `half-open` or `disabled`; of several circuits, the worst."""
        return self.status.state

    @property
    def failures(self) -> int:
        """Failures in a row of the circuit in the worst state."""
        return self.status.failures

    @property
    def status(self) -> BreakerStatus:
        """The state and the failures in a row of the worst circuit, and how often all have opened."""
        if not self.enabled:
            return BreakerStatus("disabled", 0, 0)
        worst = max(self._circuits(), key=lambda circuit: (_STATES.index(circuit.state), circuit.failures))
        return BreakerStatus(worst.state, worst.failures, self._listener.opened)

    def refuses(self, model: str) -> bool:
        """Whether every call for this model would be refused now: open, and too soon for a trial."""
        circuit = self._models.get(model)
        return self._connection.refuses or (circuit is not None and circuit.refuses)

    def refuses_all(self, models: Iterable[str]) -> bool:
        """Whether calls for all of these models would be refused now; without any, for all that were called."""
        return self._connection.refuses or all(map(self.refuses, list(models) or list(self._models) or [""]))

    def admit(self, model: str = "") -> Permit:
        """A permit for one call. Raises BreakerOpen."""
        if not self.enabled:
            return Permit(None, on_fault=self.on_fault)
        connection, circuit = self._connection, self._circuit(model)
        if connection.closed and circuit.closed:
            return Permit(self, model, on_fault=self.on_fault)
        wait = max(connection.wait, circuit.wait)
        if wait > 0:
            raise BreakerOpen(wait)
        trials = [part for part in (connection, circuit) if not part.closed]
        for part in trials:
            part.begin_trial(trials)
        self._tell()
        return Permit(self, model, trials, self.on_fault)

    def report_success(self, model: str, trials: Sequence["_Circuit"]) -> None:
        """A call succeeded."""
        circuit = self._models.get(model)
        if not trials and not self._connection.failures and (circuit is None or not circuit.failures):
            # changes nothing, whatever the state
            return
        self._connection.succeeded(trials)
        if circuit is not None:
            circuit.succeeded(trials)
        self._tell()

    def report_failure(self, error: Exception, model: str, trials: Sequence["_Circuit"]) -> None:
        """A call failed through the backend's fault."""
        if isinstance(error, BackendFault) and not error.taken:
            self._connection.failed(error, trials)
            for part in trials:
                # the trial for the model did not reach it
                part.free(trials)
        else:
            self._connection.succeeded(trials)
            self._circuit(model).failed(error, trials)
        self._tell()

    def _tell(self) -> None:
        if self.on_update is not None:
            self.on_update(self.status)

    def _circuit(self, model: str) -> "_Circuit":
        circuit = self._models.pop(model, None)
        if circuit is None:
            circuit = _Circuit(self._times, self._listener)
            if len(self._models) >= _MOST_MODELS:
                del self._models[next(iter(self._models))]
        self._models[model] = circuit
        return circuit

    def _circuits(self) -> list["_Circuit"]:
        return [self._connection, *self._models.values()]


class _Times(NamedTuple):
    """When a circuit opens, and the seconds after which a trial is let through."""

    fail_max: int
    reset_seconds: float
    trial_seconds: float
    clock: Callable[[], float]


class _Circuit:
    """The state of calls that fail together. An outcome counts only for the state in which its call began."""

    __slots__ = ("_breaker", "_opened_at", "_times", "_trial", "_trial_began")

    def __init__(self, times: _Times, listener: "_Listener") -> None:
        self._times = times
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=times.fail_max,
            reset_timeout=times.reset_seconds,
            listeners=[listener],
            throw_new_error_on_trip=False,
        )
        self._opened_at = 0.0
        # the trial that runs: it is told by the circuits that it is for
        self._trial: Sequence[_Circuit] | None = None
        self._trial_began = 0.0

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        return str(self._breaker.current_state)

    @property
    def closed(self) -> bool:
        """Whether calls are made as usual."""
        return self._breaker.current_state == pybreaker.STATE_CLOSED

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._breaker.fail_counter

    @property
    def refuses(self) -> bool:
        """Whether it is open, and too soon for a trial."""
        return self.state == pybreaker.STATE_OPEN and self.wait > 0

    @property
    def wait(self) -> float:
        """Seconds until a call may be made; 0 or less if one may be made now."""
        if self.closed:
            return 0
        now, times = self._times.clock(), self._times
        if self.state == pybreaker.STATE_OPEN:
            return self._opened_at + times.reset_seconds - now
        if self._trial is None or now - self._trial_began >= times.trial_seconds:
            return 0
        # its outcome may come at any moment
        return 1

    def begin_trial(self, trial: "Sequence[_Circuit]") -> None:
        """Let one call through."""
        if self.state == pybreaker.STATE_OPEN:
            self._breaker.half_open()
        self._trial, self._trial_began = trial, self._times.clock()

    def free(self, trial: "Sequence[_Circuit]") -> None:
        """The trial ended without a result."""
        if self._trial is trial:
            self._trial = None

    def succeeded(self, trials: "Sequence[_Circuit]") -> None:
        """A call succeeded; `trials`: the circuits that it was a trial for."""
        if self._counts(trials):
            self._breaker.call(_succeed)

    def failed(self, error: Exception, trials: "Sequence[_Circuit]") -> None:
        """A call failed."""
        if self._counts(trials):
            try:
                self._breaker.call(_fail, error)
            except Exception as raised:
                if raised is not error:
                    raise
            if self.state == pybreaker.STATE_OPEN:
                self._opened_at = self._times.clock()

    def _counts(self, trials: "Sequence[_Circuit]") -> bool:
        """Whether an outcome counts: a trial's while half-open, others while closed."""
        self.free(trials)
        return self.state == (pybreaker.STATE_HALF_OPEN if self in trials else pybreaker.STATE_CLOSED)


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
