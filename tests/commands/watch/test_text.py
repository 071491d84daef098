import pytest

from gateway.commands.watch.text import ago, duration, marks, outcome, rate, short, sparkline
from gateway.observability.status.state import Finished, ModelStatus


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (9_994, "9994"), (9_995, "10.0k"), (99_400, "99.4k"), (120_000, "120k"), (3.4e6, "3.4M")],
)
def test_a_count_is_short(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (3.21, "3.2"), (9.96, "10"), (41.4, "41")])
def test_a_rate_has_two_digits(value: float, text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.035, "35 ms"),
        (0.9996, "1.0 s"),
        (2.44, "2.4 s"),
        (59.97, "60 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (350_000, "4 d 1 h"),
    ],
)
def test_a_time_that_passed(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "now"), (4.9, "now"), (12.2, "12 s ago"), (200, "3 min ago"), (9000, "2 h ago"), (2e5, "2 d ago")],
)
def test_how_long_since(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_an_outcome_has_its_status_where_that_tells_something() -> None:
    assert outcome(Finished(id="r", ended_at=0, outcome="ok", status=200)) == "done"
    assert outcome(Finished(id="r", ended_at=0, outcome="backend_fault", status=502)) == "failed 502"
    assert outcome(Finished(id="r", ended_at=0, outcome="client_gone")) == "client left"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (ModelStatus(id="m"), ""),
        (ModelStatus(id="m", context_window=131072, images=True), "128Ki context, images"),
        (ModelStatus(id="m", context_window=200000, thinking="seen"), "200k context, thinks"),
    ],
)
def test_what_is_known_of_a_model(model: ModelStatus, text: str) -> None:
    assert marks(model) == text


def test_values_are_bars_up_to_the_highest() -> None:
    assert sparkline([9.0, 0.0, 5.0, 10.0], 3) == "▁▅█"
    assert sparkline([0.0, 0.0], 5) == "▁▁"
    assert sparkline([], 5) == ""
