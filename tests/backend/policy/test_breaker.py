import pytest

from gateway.backend.policy.breaker import Breaker, BreakerOpen, Permit

FAULT = RuntimeError("the backend failed")
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
