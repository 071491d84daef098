from gateway.interprocess.sample_slots import Noticeboard


def test_what_is_laid_out_is_read_by_others() -> None:
    mine, others = Noticeboard(2).places

    assert mine.write(b"first, and longer")
    assert mine.write(b"second")

    assert mine.board.places[0].read() == b"second"
    assert others.read() == b""


def test_a_place_is_empty_once_its_worker_is_gone() -> None:
    place = Noticeboard(1).places[0]
    place.write(b"something")

    place.clear()

    assert place.read() == b""


def test_what_has_no_room_changes_nothing() -> None:
    place = Noticeboard(1).places[0]
    place.write(b"before")

    assert not place.write(bytes(256 * 1024 - 7))
    assert place.read() == b"before"
    assert place.write(bytes(256 * 1024 - 8))


def test_what_is_half_written_is_not_read() -> None:
    board = Noticeboard(1)
    board.places[0].write(b"before")
    # a writer that got as far as the first bytes
    memory = memoryview(board.memory)
    memory[8:10] = b"af"

    assert board.places[0].read() is None


def test_nobody_looks_at_first() -> None:
    board = Noticeboard(1)

    assert not board.looked_at
    board.look()
    assert board.looked_at
