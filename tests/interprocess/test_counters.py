import multiprocessing

import pytest

from gateway.interprocess.counters import Counters, CounterTable


def count(counters: Counters, *name: str, width: int = 1, cell: int = 0, by: float = 1) -> None:
    counters.cells[counters.find(name, width) + cell] += by


def test_nothing_is_counted_in_a_new_table() -> None:
    assert CounterTable(3).totals() == {}


def test_a_name_keeps_its_cells() -> None:
    table = CounterTable(1)
    row = table.row(0)

    count(row, "a", "x", width=3, cell=2, by=0.5)
    count(row, "b")
    count(row, "a", "x", width=3, cell=0)
    count(row, "a", "y", width=3, cell=1)

    assert table.totals() == {("a", "x"): [1, 0, 0.5], ("b",): [1], ("a", "y"): [0, 1, 0]}
    assert row.read() == table.totals()


@pytest.mark.parametrize(
    "name",
    [("a",), ("a", ""), ("a", "b/c", "d"), ("a", 'quotes " and \\'), ("a", "line\nbreak\0"), ("ä", "模型" * 100)],
    ids=repr,
)
def test_any_text_is_a_name(name: tuple[str, ...]) -> None:
    table = CounterTable(1)
    count(table.row(0), "before")

    count(table.row(0), *name, by=7)
    count(table.row(0), "behind")

    assert table.totals() == {("before",): [1], name: [7], ("behind",): [1]}


def test_rows_add_up_whatever_each_knows() -> None:
    table = CounterTable(3)
    count(table.row(0), "only here")
    count(table.row(0), "both", width=2, cell=0)
    count(table.row(2), "both", width=2, cell=0, by=2)
    count(table.row(2), "both", width=2, cell=1, by=5)

    assert table.totals() == {("only here",): [1], ("both",): [3, 5]}


def test_a_replacement_counts_on_where_the_worker_before_it_stopped() -> None:
    table = CounterTable(2)
    process = multiprocessing.get_context("fork").Process

    for names in (["a", "b"], ["b", "c"], ["c", "a"]):
        worker = process(target=_work, args=(table.row(1), names))
        worker.start()
        worker.join()
        assert worker.exitcode == 0

    assert table.totals() == {("a",): [2], ("b",): [2], ("c",): [2]}


def _work(row: Counters, names: list[str]) -> None:
    for name in names:
        count(row, name)


@pytest.mark.parametrize(("length", "width"), [(2000, 1), (3, 90)], ids=["long names", "many cells"])
def test_what_finds_no_room_stops_nothing_and_disturbs_nothing(length: int, width: int) -> None:
    table = CounterTable(1)
    row = table.row(0)

    for number in range(100):
        for cell in range(width):
            count(row, str(number).ljust(length, "x"), width=width, cell=cell)

    totals = table.totals()
    assert 40 < len(totals) < 100
    assert all(cells == [1] * width for cells in totals.values())


def test_what_found_no_room_never_comes_into_the_way_of_what_did() -> None:
    table = CounterTable(1)
    row = table.row(0)
    for number in range(200):
        count(row, "wide", str(number), width=90)
    count(row, "narrow")
    for number in range(200):
        count(row, "wide", str(number), width=90)

    totals = table.totals()
    assert totals["narrow",] == [1]
    assert {cells[0] for name, cells in totals.items() if name[0] == "wide"} == {2}
