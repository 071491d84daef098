import pytest

from gateway.backend.policy.retry import RetryPolicy
from gateway.translate.refusals.faults import BackendFault

POLICY = RetryPolicy(retries=2, seconds=10)
REFUSED = BackendFault(502, "refused", taken=False)
BUSY = BackendFault(529, "busy", retry_after=3)


@pytest.mark.parametrize(("tries", "least", "most"), [(1, 0.125, 0.375), (2, 0.25, 0.75)])
def test_pauses_grow_and_are_spread(tries: int, least: float, most: float) -> None:
    pauses = [POLICY.pause(REFUSED, tries, 0) for _ in range(50)]
    assert all(pause is not None and least <= pause <= most for pause in pauses)
    assert len(set(pauses)) > 40


def test_a_named_moment_is_never_come_before() -> None:
    pauses = [POLICY.pause(BUSY, 1, 0) for _ in range(50)]
    assert all(pause is not None and 3 <= pause <= 3.3 for pause in pauses)


@pytest.mark.parametrize(
    ("fault", "tries", "spent"),
    [
        (REFUSED, 3, 0),
        (REFUSED, 1, 9.9),
        (BUSY, 1, 7.1),
        (BackendFault(529, "busy", retry_after=11), 1, 0),
        (BackendFault(502, "gone"), 1, 0),
        (BackendFault(500, "no", retry_after=1), 1, 0),
    ],
    ids=["too often", "too late", "the moment is too late", "far too late", "it may have been taken", "a failure"],
)
def test_some_calls_are_not_made_again(fault: BackendFault, tries: int, spent: float) -> None:
    assert POLICY.pause(fault, tries, spent) is None


def test_no_retries_are_none() -> None:
    assert RetryPolicy(retries=0).pause(REFUSED, 1, 0) is None
