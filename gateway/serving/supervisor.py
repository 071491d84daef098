"""Keeps worker processes running: forks them, replaces those that die, and ends them all.

A socket pair connects the supervisor with each worker: the worker's line. The worker reports on it that it serves, and
the line closes when the worker ends, for whatever reason. In the other direction, the line closes when the worker is to
stop, and also when the supervisor has died, killed or not: no worker outlives it. A forwarded signal could not do that,
and would arrive twice when a terminal or a service manager signals the whole process group.
"""

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog

from gateway.observability.logs.writer import finish_lines
from gateway.serving.process_signals import IGNORED, StraySignals, ignore, to_handle

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
# a worker that dies sooner has been of no use
_EARLY_SECONDS: Final = 1.0
# early deaths in a row, from which on there is a pause before the next start
_EARLY_DEATHS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 10.0
# how often the heartbeats are looked at
_WATCH_SECONDS: Final = 1.0
# a worker that shows no sign of life for so long hangs: even a machine with far too much to do runs each process now
# and then
_HUNG_SECONDS: Final = 15.0
_START_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker knows of itself: its number, counted from 0, and how many workers had that number before."""

    number: int
    restarts: int
    line: socket.socket
    """Readable once the worker is to stop."""

    def report_serving(self) -> None:
        """Tell the supervisor that this worker serves."""
        # if the supervisor is gone, the line will show it
        with contextlib.suppress(OSError):
            self.line.send(b"1")


Work = Callable[[Place], int]


@dataclass(slots=True)
class _Seat:
    """The current worker, and how its predecessors fared. Times are in seconds of the monotonic clock."""

    number: int
    pid: int = 0
    line: socket.socket | None = None
    started: float = 0.0
    serves: bool = False
    deaths: int = 0
    early_deaths: int = 0
    start_at: float = 0.0
    beats: int = 0
    silent: float = 0.0


class Supervisor:
    """Keeps `count` worker processes running."""

    def __init__(
        self,
        work: Work,
        count: int,
        *,
        stop_seconds: float,
        on_serving: Callable[[list[int]], None],
        on_stop: Callable[[], None] = lambda: None,
        on_death: Callable[[int], None],
        beats: Callable[[int], int] | None = None,
        hung_seconds: float = _HUNG_SECONDS,
        start_seconds: float = _START_SECONDS,
    ) -> None:
        """`work` is what each worker does; it returns the exit code. `stop_seconds`: how long workers may take to stop
        before they are killed. `on_serving` is called with the process ids once all workers serve for the first time,
        `on_stop` at the first signal, `on_death` with the number of each worker that has died.

        `beats`, if given, returns a number that changes every second while worker `number` is well. A worker is killed
        and replaced if it does not change for `hung_seconds`, or if it does not serve within `start_seconds`.
        """
        self._work = work
        self._seats = [_Seat(number) for number in range(count)]
        self._stop_seconds = stop_seconds
        self._on_serving = on_serving
        self._on_stop = on_stop
        self._on_death = on_death
        self._beats = beats
        self._hung_seconds = hung_seconds
        self._start_seconds = start_seconds
        self._watched_at = time.monotonic()
        self._stray = StraySignals(self._stop)
        self._selector = selectors.DefaultSelector()
        self._wakeup = socket.socketpair()
        self._any_served = self._all_served = False
        self._kill_at: float | None = None
        self._code = 0

    def run(self) -> int:
        """Run until SIGINT or SIGTERM. Call it in the main thread, while there is no other thread.

        Returns 0; 1 if no worker could start; 128 plus the signal's number if a second signal came.
        """
        for end in self._wakeup:
            end.setblocking(False)
        self._selector.register(self._wakeup[0], selectors.EVENT_READ, self._read_signals)
        with _caught_signals(self._wakeup[1]):
            try:
                while self._kill_at is None or self._living():
                    self._start_due()
                    for key, _ in self._selector.select(self._timeout()):
                        key.data()
                    self._kill_overdue()
                    self._kill_hung()
            finally:
                self._kill()
                self._close()
        return self._code

    def _living(self) -> list[tuple[_Seat, socket.socket]]:
        return [(seat, seat.line) for seat in self._seats if seat.line is not None]

    def _timeout(self) -> float | None:
        if self._kill_at is not None:
            return max(0.0, self._kill_at - time.monotonic())
        due = [seat.start_at for seat in self._seats if seat.line is None]
        if self._beats is not None:
            due.append(self._watched_at + _WATCH_SECONDS)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start_due(self) -> None:
        for seat in self._seats:
            if self._kill_at is None and seat.line is None and seat.start_at <= time.monotonic():
                self._start(seat)

    def _start(self, seat: _Seat) -> None:
        seat.started = time.monotonic()
        seat.silent = 0.0
        try:
            seat.line = self._fork(seat)
        except OSError as error:
            log.warning("worker not started", error=str(error), pause_secs=self._plan(seat))
            self._give_up_unless_served()
            return
        self._selector.register(seat.line, selectors.EVENT_READ, lambda: self._read_line(seat))

    def _fork(self, seat: _Seat) -> socket.socket:
        """Start a process. Returns the supervisor's end of its line."""
        ours, theirs = socket.socketpair()
        # until the worker has handlers of its own, a signal would run the supervisor's handlers in it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING + IGNORED)
        try:
            seat.pid = os.fork()
            if not seat.pid:
                self._become_worker(Place(seat.number, seat.deaths, theirs), ours)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        return ours

    def _become_worker(self, place: Place, ours: socket.socket) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # Ctrl-C in a terminal reaches every process; the supervisor decides what it means
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ignore()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING + IGNORED)
            ours.close()
            self._close()
            code = self._work(place)
        except BaseException:
            log.exception("worker failed", pid=os.getpid())
        finally:
            finish_lines()
            # the frames below on the stack are the supervisor's
            os._exit(code)

    def _read_line(self, seat: _Seat) -> None:
        if seat.line is None:
            # killed meanwhile
            return
        if not seat.line.recv(16):
            self._bury(seat, seat.line)
            return
        seat.serves = self._any_served = True
        seat.silent = 0.0
        if seat.deaths:
            log.info("worker replaced", pid=seat.pid)
        if not self._all_served and all(seat.serves for seat in self._seats):
            self._all_served = True
            self._on_serving([seat.pid for seat in self._seats])

    def _bury(self, seat: _Seat, line: socket.socket) -> None:
        self._selector.unregister(line)
        line.close()
        seat.line = None
        code = os.waitstatus_to_exitcode(os.waitpid(seat.pid, 0)[1])
        self._on_death(seat.number)
        if self._kill_at is None:
            how = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
            log.warning("worker died", pid=seat.pid, **how, pause_secs=self._plan(seat))
            self._give_up_unless_served()

    def _plan(self, seat: _Seat) -> float:
        """Decide when the seat's next worker starts. Returns the seconds until then."""
        now = time.monotonic()
        early = not seat.serves or now - seat.started < _EARLY_SECONDS
        seat.deaths += 1
        seat.early_deaths = seat.early_deaths + 1 if early else 0
        seat.serves = False
        pause = 0.0
        if seat.early_deaths >= _EARLY_DEATHS:
            # the exponent is bounded, because a float overflows
            doubled = _FIRST_PAUSE_SECONDS * 2 ** min(seat.early_deaths - _EARLY_DEATHS, 30)
            pause = min(_LONGEST_PAUSE_SECONDS, doubled)
        seat.start_at = now + pause
        return pause

    def _give_up_unless_served(self) -> None:
        if not self._any_served and all(seat.deaths for seat in self._seats):
            log.error("no worker could start")
            self._code = 1
            self._kill_at = time.monotonic()
            self._kill()

    def _read_signals(self) -> None:
        for number in self._wakeup[0].recv(64):
            if number in IGNORED:
                self._stray.received(number)
            elif number not in _ENDING:
                continue
            elif self._kill_at is None:
                self._stop()
            else:
                self._code = self._code or 128 + number
                self._kill()

    def _stop(self) -> None:
        if self._kill_at is not None:
            return
        living = self._living()
        log.info("shutting down", workers=len(living))
        self._kill_at = time.monotonic() + self._stop_seconds
        for _, line in living:
            # a worker that has just died is noticed at the next read
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_WR)
        self._on_stop()

    def _kill_overdue(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at and (living := self._living()):
            log.warning("workers killed", pids=[seat.pid for seat, _ in living])
            self._kill()

    def _kill_hung(self) -> None:
        """Kill the workers that have been silent for too long. Their deaths are noticed like any other.

        Silence is added up over the looks at the heartbeats. A look that comes late counts as two: if this process was
        itself stopped, or the machine asleep, the workers had no more time than that.
        """
        passed = time.monotonic() - self._watched_at
        if self._beats is None or self._kill_at is not None or passed < _WATCH_SECONDS:
            return
        self._watched_at += passed
        for seat, _ in self._living():
            beats = self._beats(seat.number)
            if seat.serves and beats != seat.beats:
                seat.beats, seat.silent = beats, 0.0
                continue
            seat.silent += min(passed, 2 * _WATCH_SECONDS)
            if seat.silent >= (self._hung_seconds if seat.serves else self._start_seconds):
                reason = "no heartbeat" if seat.serves else "does not serve"
                log.warning("worker hangs", pid=seat.pid, reason=reason, seconds=round(seat.silent))
                os.kill(seat.pid, signal.SIGKILL)
                seat.silent = 0.0

    def _kill(self) -> None:
        for seat, line in self._living():
            os.kill(seat.pid, signal.SIGKILL)
            self._bury(seat, line)

    def _close(self) -> None:
        self._selector.close()
        for end in (*self._wakeup, *(line for _, line in self._living())):
            end.close()


@contextlib.contextmanager
def _caught_signals(end: socket.socket) -> Iterator[None]:
    """Inside the block, the numbers of signals are written to `end`."""
    signal.set_wakeup_fd(end.fileno(), warn_on_full_buffer=False)
    numbers = _ENDING + to_handle()
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
