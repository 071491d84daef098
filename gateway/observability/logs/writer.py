"""Writes log lines from a thread, so that nobody waits for whoever reads them.

Standard error may be a pipe that nobody reads, a terminal that is stopped with Ctrl-S, or a file on a full disk. Lines
wait in a bounded queue meanwhile; those that find it full are dropped and counted. What cannot be written is tried
again each second, so nothing is lost if the obstacle goes away soon.

The thread starts with the first line. Before a fork it ends, unless it is blocked in a write. The child starts with an
empty queue: the lines that still wait are the parent's.
"""

import atexit
import io
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TextIO, cast

# two megabytes of usual lines; each line is bounded, so it is never more than 64 MiB
_MOST_LINES: Final = 4000
# what Linux writes to a pipe in one piece (PIPE_BUF): several processes may write to the same one
_PIECE_CHARACTERS: Final = 4096
_RETRY_SECONDS: Final = 1.0
# between attempts at a full pipe that does not block
_FULL_SECONDS: Final = 0.02
# for what is left when the process ends, and before a fork
_LAST_SECONDS: Final = 1.0
_FORK_SECONDS: Final = 0.1


class LogWriter(io.TextIOBase):
    """A text stream whose `write` neither blocks nor fails. Write one whole line at a time."""

    def __init__(self, file: io.RawIOBase, *, most: int = _MOST_LINES, retry: float = _RETRY_SECONDS) -> None:
        """`file` has no buffer. `most`: how many lines may wait. `retry`: the seconds between attempts to write.

        `on_drop`, if set, is called for each dropped line. `on_flow` is called by the thread when lines flow again,
        with the number of those dropped.
        """
        super().__init__()
        self.on_drop: Callable[[], None] | None = None
        self.on_flow: Callable[[int], None] | None = None
        self.file = file
        self._most = most
        self._retry = retry
        self.start_over()
        _writers.add(self)

    def start_over(self) -> None:
        """Forget the queue and the thread, which a forked process does not have."""
        # None asks the thread to end
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        # what remains of the piece that is being written
        self._rest = b""
        # the line after that piece, if it has been taken
        self._carried = ""
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._dropped = self._told = 0

    @property
    def finished(self) -> bool:
        """Whether nothing is being written."""
        return self._thread is None

    @property
    def dropped(self) -> int:
        """How many lines this process has dropped."""
        return self._dropped

    def write(self, line: str, /) -> int:
        """Queue a line, or drop it if the queue is full."""
        if self._lines.qsize() >= self._most:
            self._drop()
        else:
            self._lines.put(line)
            if self._thread is None:
                self._start()
        return len(line)

    def flush(self) -> None:
        """Do nothing: lines are written as soon as possible."""

    def isatty(self) -> bool:
        """Whether the lines go to a terminal."""
        return self.file.isatty()

    def finish(self, seconds: float = _LAST_SECONDS) -> None:
        """Wait until the queued lines are written, but no longer than this."""
        thread, deadline = self._thread, time.monotonic() + seconds
        if thread is not None:
            self._lines.put(None)
            self._ending.set()
        # a thread that ends starts another if more lines have come
        while thread is not None and (left := deadline - time.monotonic()) > 0:
            thread.join(left)
            thread = self._thread

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._ending.clear()
                self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
                self._thread.start()

    def _drop(self) -> None:
        with self._lock:
            self._dropped += 1
            if self.on_drop is not None:
                self.on_drop()

    def _run(self) -> None:
        going = True
        while self._write_rest() and going:
            self._tell()
            going = self._gather()
        self._thread = None
        # a line may have come after the request to end
        if not self._rest and not self._lines.empty():
            self._start()

    def _gather(self) -> bool:
        """Wait for a line, and take as many as go into one piece. Returns False if the thread is to end."""
        piece: list[str] = []
        size = 0
        line = self._carried or self._lines.get()
        self._carried = ""
        while line is not None:
            if piece and size + len(line) > _PIECE_CHARACTERS:
                self._carried = line
                break
            piece.append(line)
            size += len(line)
            if self._lines.empty():
                break
            line = self._lines.get()
        self._rest = "".join(piece).encode(errors="backslashreplace")
        return line is not None

    def _write_rest(self) -> bool:
        """Returns False if the thread is to end and nothing can be written."""
        while self._rest:
            try:
                written = self.file.write(self._rest)
            # ValueError: the file is closed
            except (OSError, ValueError):
                if self._ending.is_set():
                    return False
                self._ending.wait(self._retry)
                continue
            if written is None:
                time.sleep(_FULL_SECONDS)
            else:
                self._rest = self._rest[written:]
        return True

    def _tell(self) -> None:
        dropped = self._dropped - self._told
        if dropped and self._lines.qsize() < self._most // 2:
            self._told += dropped
            if self.on_flow is not None:
                self.on_flow(dropped)


_writers: Final[weakref.WeakSet[LogWriter]] = weakref.WeakSet()
_to_standard_error: LogWriter | None = None


def standard_error() -> TextIO:
    """The writer for standard error. Where that is not a file, as in some tests, the stream itself; where it is closed,
    a writer that drops everything.
    """
    global _to_standard_error  # one for the process, as there is one standard error
    stream: TextIO | None = sys.stderr
    buffer = getattr(stream, "buffer", None)
    file = io.FileIO(os.devnull, "w") if stream is None else getattr(buffer, "raw", buffer)
    if not isinstance(file, io.FileIO):
        return sys.stderr
    if _to_standard_error is None or _to_standard_error.file is not file:
        _to_standard_error = LogWriter(file)
    return cast(TextIO, _to_standard_error)


def finish_lines(seconds: float = _LAST_SECONDS) -> None:
    """Wait until the queued lines of this process are written, but no longer than this."""
    for writer in list(_writers):
        writer.finish(seconds)


def _begin_in_child() -> None:
    for writer in list(_writers):
        writer.start_over()


atexit.register(finish_lines)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: finish_lines(_FORK_SECONDS), after_in_child=_begin_in_child)
