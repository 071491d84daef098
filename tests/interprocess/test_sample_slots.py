from gateway.interprocess.sample_slots import SampleSlots


def test_what_is_laid_out_is_read_by_others() -> None:
    mine, others = SampleSlots(2).slots

    assert mine.write(b"first, and longer")
    assert mine.write(b"second")

    assert mine.board.slots[0].read() == b"second"
    assert others.read() == b""


def test_a_place_is_empty_once_its_worker_is_gone() -> None:
    slot = SampleSlots(1).slots[0]
    slot.write(b"something")

    slot.clear()

    assert slot.read() == b""


def test_what_has_no_room_changes_nothing() -> None:
    slot = SampleSlots(1).slots[0]
    slot.write(b"before")

    assert not slot.write(bytes(256 * 1024 - 7))
    assert slot.read() == b"before"
    assert slot.write(bytes(256 * 1024 - 8))


def test_what_is_half_written_is_not_read() -> None:
    board = SampleSlots(1)
    board.slots[0].write(b"before")
    # a writer that got as far as the first bytes
    memory = memoryview(board.memory)
    memory[8:10] = b"af"

    assert board.slots[0].read() is None


def test_nobody_looks_at_first() -> None:
    board = SampleSlots(1)

    assert not board.looked_at
    board.look()
    assert board.looked_at
