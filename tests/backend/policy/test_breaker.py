from datetime import datetime, timedelta, tzinfo
from typing import Any, Self

import pybreaker
import pytest

from gateway.backend.policy import breaker as module
from gateway.backend.policy.breaker import Breaker, BreakerOpen, Permit
from gateway.translate.refusals.faults import BackendFault

FAULT = RuntimeError("the backend failed")
UNREACHABLE = BackendFault(502, "no connection to the backend", taken=False)
# far longer than a test; and none at all, for tests that look at the moment after it
LONG, NONE = 60.0, 0.0


def make(reset: float = LONG, fail_max: int = 3) -> tuple[Breaker, list[tuple[str, str]]]:
    changes: list[tuple[str, str]] = []
    breaker = Breaker(
        enabled=True, fail_max=fail_max, reset_seconds=reset, on_change=lambda old, new: changes.append((old, new))
    )
    return breaker, changes


def fail(breaker: Breaker, times: int = 3) -> None:
    for _ in range(times):
        breaker.admit().failed(FAULT)


def test_failures_in_a_row_open_it() -> None:
    breaker, changes = make()

    fail(breaker, 2)
    assert (breaker.state, breaker.failures) == ("closed", 2)
    fail(breaker, 1)

    assert breaker.state == "open"
    assert changes == [("closed", "open")]


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker, _ = make()

    fail(breaker, 2)
    breaker.admit().succeeded()
    fail(breaker, 2)

    assert (breaker.state, breaker.failures) == ("closed", 2)


def test_a_client_that_left_counts_neither_way() -> None:
    breaker, _ = make()

    fail(breaker, 2)
    breaker.admit().abandoned()

    assert breaker.failures == 2


def test_open_refuses_with_the_time_to_wait() -> None:
    breaker, _ = make()
    fail(breaker)

    with pytest.raises(BreakerOpen) as refusal:
        breaker.admit()

    assert (refusal.value.status, refusal.value.type) == (529, "overloaded_error")
    assert refusal.value.headers() == {"x-should-retry": "true", "retry-after": "60"}


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (12.1, "13"), (3600, "60")])
def test_the_time_to_wait_is_whole_seconds_that_clients_wait_for(seconds: float, header: str) -> None:
    assert BreakerOpen(seconds).headers()["retry-after"] == header


def test_after_the_reset_one_of_many_goes_through() -> None:
    breaker, _ = make(NONE)
    fail(breaker)

    outcomes: list[Permit | BreakerOpen] = []
    for _ in range(100):
        try:
            outcomes.append(breaker.admit())
        except BreakerOpen as refusal:
            outcomes.append(refusal)

    assert breaker.state == "half-open"
    assert [isinstance(outcome, Permit) for outcome in outcomes] == [True] + [False] * 99


def test_a_trial_that_succeeds_closes_it() -> None:
    breaker, changes = make(NONE)
    fail(breaker)

    breaker.admit().progressed()

    assert (breaker.state, breaker.failures) == ("closed", 0)
    assert changes == [("closed", "open"), ("open", "half-open"), ("half-open", "closed")]


def test_a_trial_that_fails_opens_it_again() -> None:
    breaker, changes = make(NONE)
    fail(breaker)

    breaker.admit().failed(FAULT)

    assert breaker.state == "open"
    assert changes[-1] == ("half-open", "open")


def test_an_abandoned_trial_makes_way_for_the_next() -> None:
    breaker, _ = make(NONE)
    fail(breaker)

    breaker.admit().abandoned()
    assert breaker.state == "half-open"
    breaker.admit().succeeded()

    assert breaker.state == "closed"


def test_progress_of_an_ordinary_call_is_no_success_yet() -> None:
    breaker, _ = make()
    fail(breaker, 2)

    permit = breaker.admit()
    permit.progressed()
    permit.failed(FAULT)

    assert breaker.state == "open"


def test_outcomes_of_calls_from_before_it_opened_do_not_count() -> None:
    breaker, _ = make()
    early_success, early_failure = breaker.admit(), breaker.admit()
    fail(breaker)

    early_success.succeeded()
    early_failure.failed(FAULT)

    assert breaker.state == "open"


def test_only_the_first_outcome_of_a_call_counts() -> None:
    breaker, _ = make()

    permit = breaker.admit()
    permit.failed(FAULT)
    permit.failed(FAULT)
    permit.succeeded()

    assert breaker.failures == 1


def test_disabled_it_never_refuses() -> None:
    breaker = Breaker(enabled=False, fail_max=1, reset_seconds=LONG)

    fail(breaker, 5)

    assert (breaker.state, breaker.failures) == ("disabled", 0)
    breaker.admit().succeeded()


# models


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(enabled=True, fail_max=2, reset_seconds=10, trial_seconds=5, clock=clock)


def fail_as(breaker: Breaker, model: str, error: Exception = FAULT, times: int = 2) -> None:
    for _ in range(times):
        breaker.admit(model).failed(error)


def test_a_model_that_fails_leaves_the_others_alone(breaker: Breaker) -> None:
    breaker.admit("good").succeeded()
    fail_as(breaker, "bad")

    with pytest.raises(BreakerOpen):
        breaker.admit("bad")
    breaker.admit("good").succeeded()
    breaker.admit("new").succeeded()

    assert breaker.status == ("open", 2, 1)
    assert (breaker.refuses("bad"), breaker.refuses("good"), breaker.refuses("new")) == (True, False, False)
    assert (breaker.refuses_all(["bad"]), breaker.refuses_all(["bad", "good"])) == (True, False)
    assert not breaker.refuses_all([])


def test_success_of_one_model_does_not_hide_the_failures_of_another(breaker: Breaker) -> None:
    fail_as(breaker, "bad", times=1)
    breaker.admit("good").succeeded()
    fail_as(breaker, "bad", times=1)

    assert breaker.refuses("bad")


def test_a_backend_that_cannot_be_reached_can_be_reached_for_no_model(breaker: Breaker, clock: Clock) -> None:
    fail_as(breaker, "one", UNREACHABLE, times=1)
    fail_as(breaker, "two", UNREACHABLE, times=1)

    with pytest.raises(BreakerOpen):
        breaker.admit("three")
    assert breaker.refuses_all(["one", "two", "three"])
    assert breaker.status == ("open", 2, 1)
    clock.now += 10

    breaker.admit("three").progressed()

    for model in ("one", "two", "three"):
        breaker.admit(model).succeeded()
    assert breaker.status == ("closed", 0, 1)


def test_any_answer_shows_that_the_backend_can_be_reached(breaker: Breaker) -> None:
    fail_as(breaker, "one", UNREACHABLE, times=1)
    fail_as(breaker, "two", FAULT, times=1)
    fail_as(breaker, "three", UNREACHABLE, times=1)

    assert breaker.state == "closed"


def test_a_trial_that_does_not_reach_the_backend_says_nothing_about_its_model(breaker: Breaker, clock: Clock) -> None:
    fail_as(breaker, "bad")
    clock.now += 10

    breaker.admit("bad").failed(UNREACHABLE)

    breaker.admit("bad").succeeded()
    assert breaker.status == ("closed", 0, 1)


def test_a_trial_that_hangs_makes_way_for_another(breaker: Breaker, clock: Clock) -> None:
    fail_as(breaker, "bad")
    clock.now += 10
    hanging = breaker.admit("bad")
    clock.now += 4.9
    with pytest.raises(BreakerOpen) as refusal:
        breaker.admit("bad")
    assert refusal.value.retry_after == 1
    clock.now += 0.1

    second = breaker.admit("bad")
    with pytest.raises(BreakerOpen):
        breaker.admit("bad")
    # the first one is given up; the place is the second one's
    hanging.abandoned()
    with pytest.raises(BreakerOpen):
        breaker.admit("bad")
    second.progressed()

    assert breaker.status == ("closed", 0, 1)


@pytest.mark.parametrize("ends", [Permit.succeeded, lambda permit: permit.failed(FAULT)], ids=["well", "badly"])
def test_a_trial_that_ends_after_another_one_changes_nothing(ends: Any, breaker: Breaker, clock: Clock) -> None:
    fail_as(breaker, "bad")
    clock.now += 10
    hanging = breaker.admit("bad")
    clock.now += 5
    breaker.admit("bad").failed(FAULT)

    ends(hanging)

    assert breaker.status == ("open", 3, 2)


def test_the_wall_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch, breaker: Breaker, clock: Clock) -> None:
    fail_as(breaker, "bad")
    clock.now += 10

    class Past(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) - timedelta(hours=1)

    monkeypatch.setattr(pybreaker, "datetime", Past)
    monkeypatch.setattr(module.time, "time", lambda: 0.0)

    breaker.admit("bad").succeeded()
    assert breaker.state == "closed"
    fail_as(breaker, "bad")
    clock.now += 10
    breaker.admit("bad").succeeded()
    assert breaker.state == "closed"


def test_clients_that_invent_models_do_not_fill_the_memory(breaker: Breaker) -> None:
    for number in range(5000):
        breaker.admit(f"model-{number}").failed(FAULT)
        breaker.admit("used").succeeded()

    assert len(breaker._models) <= 256
    assert "used" in breaker._models
