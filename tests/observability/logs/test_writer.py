import os
import select
import threading
from collections.abc import Callable, Iterator
from io import FileIO

import pytest

from gateway.observability.logs.writer import LogWriter

SECONDS = 10.0


class Pipe:
    """A pipe of one page, and a writer to it."""

    def __init__(self, **options: float) -> None:
        self.reads, self.writes = os.pipe()
        self.file = FileIO(self.writes, "w")
        self.flowed: list[int] = []
        self.told = threading.Event()
        self.writer = LogWriter(self.file, **options)  # type: ignore[arg-type]
        self.writer.on_flow = self._flow

    def _flow(self, lines: int) -> None:
        self.flowed.append(lines)
        self.told.set()

    def fill(self) -> None:
        """Leave no space, with one line."""
        os.set_blocking(self.writes, False)
        while True:
            try:
                os.write(self.writes, b"." * 4096)
            except BlockingIOError:
                break
        os.read(self.reads, 4096)
        os.write(self.writes, b"." * 4095 + b"\n")
        os.set_blocking(self.writes, True)

    def read(self, marks: int) -> bytes:
        """What comes until there were so many lines."""
        received = b""
        while received.count(b"\n") < marks:
            ready, _, _ = select.select([self.reads], [], [], SECONDS)
            assert ready, received[-1000:]
            received += os.read(self.reads, 65536)
        return received


@pytest.fixture
def pipe() -> Iterator[Callable[..., Pipe]]:
    made: list[Pipe] = []

    def make(**options: float) -> Pipe:
        made.append(Pipe(**options))
        return made[-1]

    yield make
    for one in made:
        os.set_blocking(one.reads, False)
        while not one.writer.finished:
            try:
                os.read(one.reads, 1 << 20)
            except BlockingIOError:
                one.writer.finish(0.01)
        one.file.close()
        os.close(one.reads)


def numbered(count: int, size: int = 300) -> list[str]:
    return [f"{number:06} ".ljust(size, "x") + "\n" for number in range(count)]


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_stay_whole_and_in_order_however_slow_the_reader(blocking: bool, pipe: Callable[..., Pipe]) -> None:
    one = pipe()
    os.set_blocking(one.writes, blocking)
    lines = [*numbered(2000), "long " * 2000 + "\n", *numbered(10)]

    for line in lines:
        one.writer.write(line)

    assert one.read(len(lines)).decode() == "".join(lines)
    assert one.writer.dropped == 0


def test_what_finds_the_queue_full_is_dropped_counted_and_told_once(pipe: Callable[..., Pipe]) -> None:
    one = pipe(most=100)
    one.fill()
    counted: list[int] = []
    one.writer.on_drop = lambda: counted.append(1)
    lines = numbered(5000)

    for line in lines:
        one.writer.write(line)
    dropped = one.writer.dropped
    kept = one.read(1 + len(lines) - dropped).decode().partition("\n")[2]

    assert one.told.wait(SECONDS)
    assert dropped == len(counted) > 4000
    assert one.flowed == [dropped]
    assert kept == "".join(lines[: len(lines) - dropped])
    one.writer.write("and on\n")
    assert one.read(1) == b"and on\n"


def test_a_reader_that_is_gone_fails_nobody_and_costs_bounded_memory(pipe: Callable[..., Pipe]) -> None:
    one = pipe(most=100, retry=0.01)
    os.close(one.reads)

    for line in numbered(1000):
        one.writer.write(line)

    assert one.writer.dropped >= 800
    one.writer.finish(SECONDS)
    assert one.writer.finished
    # for the fixture
    one.reads = os.open(os.devnull, os.O_RDONLY)


def test_a_full_disk_loses_no_line_that_waits_until_there_is_space(pipe: Callable[..., Pipe]) -> None:
    class Disk(FileIO):
        full = True

        def write(self, data: bytes, /) -> int:  # type: ignore[override]
            if self.full:
                tried.set()
                raise OSError(28, "No space left on device")
            # only a part fits
            return super().write(data[:100])

    tried = threading.Event()
    one = pipe()
    with Disk(os.dup(one.writes), "w") as disk:
        writer = LogWriter(disk, retry=0.01)
        lines = numbered(50)
        for line in lines:
            writer.write(line)
        assert tried.wait(SECONDS)
        disk.full = False
        assert one.read(50).decode() == "".join(lines)
        writer.finish(SECONDS)


def test_a_child_after_a_fork_writes_its_own_lines_only(pipe: Callable[..., Pipe]) -> None:
    one = pipe()
    one.writer.write("before\n")

    pid = os.fork()
    if not pid:
        one.writer.write("child\n")
        one.writer.finish(SECONDS)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    one.writer.write("parent\n")

    assert one.read(3) == b"before\nchild\nparent\n"


def test_a_child_of_a_process_whose_writer_is_stuck_writes_too(pipe: Callable[..., Pipe]) -> None:
    one, other = pipe(), pipe()
    for line in numbered(1000):
        one.writer.write(line)

    pid = os.fork()
    if not pid:
        other.writer.write("child\n")
        other.writer.finish(SECONDS)
        os._exit(0)

    assert os.waitpid(pid, 0)[1] == 0
    assert other.read(1) == b"child\n"
    assert one.read(1000).count(b"\n") == 1000


def test_lines_of_many_threads_are_all_written(pipe: Callable[..., Pipe]) -> None:
    one = pipe()

    def work() -> None:
        for line in numbered(200):
            one.writer.write(line)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()

    received = one.read(1600).decode().splitlines(keepends=True)
    for thread in threads:
        thread.join()
    assert sorted(received) == sorted(numbered(200) * 8)
