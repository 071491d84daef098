import multiprocessing

import pytest

from gateway.backend.policy.breaker import BreakerStatus
from gateway.interprocess.scoreboard import Row, Scoreboard


def test_nobody_is_in_a_new_table() -> None:
    board = Scoreboard(3)

    assert board.rows == []
    assert board.streams == 0
    assert board.breaker == ("disabled", 0, 0)


def test_a_row_tells_what_its_worker_wrote() -> None:
    board = Scoreboard(2)
    board.row(1).begin(pid=42, restarts=3)
    board.row(1).set_streams(5)
    board.row(1).set_breaker(BreakerStatus("half-open", 7, 2))

    (row,) = board.rows
    assert (row.pid, row.restarts, row.streams, row.breaker) == (42, 3, 5, ("half-open", 7, 2))


def test_streams_add_up_over_all_workers() -> None:
    board = Scoreboard(3)
    for number, streams in enumerate([2, 0, 40]):
        board.row(number).begin(pid=number + 1, restarts=0)
        board.row(number).set_streams(streams)

    assert board.streams == 42


@pytest.mark.parametrize("leave", [Row.clear, lambda row: row.begin(pid=9, restarts=1)], ids=["gone", "replaced"])
def test_what_a_dead_worker_had_open_no_longer_counts(leave: object) -> None:
    assert callable(leave)
    board = Scoreboard(2)
    for row in (board.row(0), board.row(1)):
        row.begin(pid=1, restarts=0)
        row.set_streams(3)
        row.set_breaker(BreakerStatus("closed", 0, 1))
    board.row(0).set_breaker(BreakerStatus("open", 5, 3))

    leave(board.row(0))

    assert board.streams == 3
    assert board.breaker == ("closed", 0, 1)


@pytest.mark.parametrize(
    ("breakers", "worst"),
    [
        ([("disabled", 0), ("disabled", 0)], ("disabled", 0)),
        ([("closed", 1), ("closed", 4)], ("closed", 4)),
        ([("closed", 4), ("half-open", 2)], ("half-open", 2)),
        ([("open", 2), ("half-open", 5)], ("open", 2)),
        ([("open", 2), ("open", 3)], ("open", 3)),
    ],
)
def test_the_worst_breaker_stands_for_all(breakers: list[tuple[str, int]], worst: tuple[str, int]) -> None:
    board = Scoreboard(len(breakers))
    for number, breaker in enumerate(breakers):
        board.row(number).begin(pid=number + 1, restarts=0)
        board.row(number).set_breaker(BreakerStatus(*breaker, opened=number))

    assert board.breaker == (*worst, 1)


def test_other_processes_see_it() -> None:
    board = Scoreboard(2)

    worker = multiprocessing.get_context("fork").Process(target=_work, args=(board.row(1),))
    worker.start()
    worker.join()

    assert worker.exitcode == 0
    assert [(row.pid, row.streams) for row in board.rows] == [(worker.pid, 6)]


def _work(row: Row) -> None:
    row.begin(pid=multiprocessing.current_process().pid or 0, restarts=0)
    row.set_streams(6)


def test_a_heartbeat_changes_the_workers_number_and_no_other() -> None:
    board = Scoreboard(2)
    board.row(0).begin(pid=1, restarts=0)

    before = board.row(0).beats
    board.row(0).beat()

    assert board.row(0).beats != before
    assert board.row(1).beats == 0
