import io
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.watch.lines import changes
from gateway.commands.watch.reader import News
from gateway.commands.watch.view import Screen
from gateway.observability.status.state import BackendStatus, BreakerState, Finished, GatewayStatus, ModelStatus, State

REACHED = BackendStatus(url="http://backend", reached=True)


def shown(news: News, *, height: int = 40, whole: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, height=height, force_terminal=True, no_color=True)
    console.print(Screen("http://gateway", news, whole=whole))
    written: Any = console.file
    return str(written.getvalue())


@pytest.mark.parametrize(
    ("news", "note"),
    [
        (News(State(backend=REACHED), connected=False), "connection lost, trying again"),
        (News(State(backend=REACHED, gateway=GatewayStatus(stopping=True)), connected=True), "is shutting down"),
        (News(State(), connected=True), "the backend has not been reached yet"),
        (News(State(backend=REACHED, breaker=BreakerState(state="open")), connected=True), "breaker is open"),
        (News(State(backend=REACHED, gateway=GatewayStatus(workers=4)), connected=True), "1 of 4 workers are shown"),
    ],
)
def test_what_an_operator_must_know_stands_at_the_top(news: News, note: str) -> None:
    calm = News(State(backend=REACHED), connected=True)

    assert note in shown(news)
    assert note not in shown(calm)


def test_the_finished_take_the_lines_that_are_left() -> None:
    finished = [Finished(id=f"r{number}", ended_at=0, outcome="ok", model=f"model-{number}") for number in range(50)]
    news = News(State(backend=REACHED, finished=finished), connected=True)

    assert shown(news, height=30).count("\n") <= 30
    assert shown(news, height=30).count("model-") > 5
    assert shown(news, height=10).count("model-") == 3
    assert shown(news, whole=True).count("model-") == 50


def test_what_happens_to_the_gateway_itself_is_a_line() -> None:
    before = News(State(backend=REACHED), connected=True)
    loaded = BackendStatus(url="http://backend", reached=True, models=1)
    after = State(backend=loaded, models=[ModelStatus(id="m")], gateway=GatewayStatus(stopping=True))

    assert list(changes(before, before)) == []
    assert list(changes(before, News(after, connected=True))) == [
        "models    1: m",
        "stopping  the gateway is shutting down",
    ]
