import pytest

from gateway.observability.status.advice import advice


@pytest.mark.parametrize(
    ("outcome", "status", "word"),
    [
        ("backend_fault", 502, "BACKEND_URL"),
        ("backend_fault", 422, "BACKEND_PROFILE"),
        ("backend_fault", 520, "its own log"),
        ("backend_fault", 200, "in the middle of an answer"),
        ("client_gone", 200, "CLIENT_TIMEOUT_SECS"),
        ("client_gone", None, "CLIENT_TIMEOUT_SECS"),
        ("refused", 413, "MAX_BODY_MIB"),
        ("refused", 418, "The gateway's log"),
    ],
)
def test_each_error_has_its_advice(outcome: str, status: int | None, word: str) -> None:
    assert word in advice(outcome, status)
