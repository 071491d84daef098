"""Signals that do not end a process: by default, each of them would cut every answer in progress.

SIGHUP means that the terminal is gone, or, to many servers, that they should read their settings again. The first ends
the gateway like SIGTERM. Otherwise nothing is to be done: the file of keys is read again whenever it changes, and all
other settings are those of the start.
"""

import os
import signal
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

# Windows has none of them
IGNORED: Final = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM") if hasattr(signal, name)
)


def ignore() -> None:
    """Ignore them in this process, and in those that it starts."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


class StraySignals:
    """What to do about such signals, in a process that was perhaps started in a terminal."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._in_terminal = _has_terminal()

    def received(self, number: int) -> None:
        """Stop if the terminal is gone, otherwise log that nothing happens."""
        name = signal.Signals(number).name
        if name == "SIGHUP" and self._in_terminal and not _has_terminal():
            log.info("terminal closed")
            self._in_terminal = False
            self._stop()
        else:
            log.info("signal ignored", signal=name, reason="settings are read at the start, keys whenever they change")


def to_handle() -> tuple[signal.Signals, ...]:
    """Those that whoever started this process has not already chosen to ignore, as `nohup` does."""
    return tuple(number for number in IGNORED if signal.getsignal(number) is not signal.SIG_IGN)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True
