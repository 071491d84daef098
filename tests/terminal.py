"""A terminal that a program runs in: what it shows there, and what a user types."""

import asyncio
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pexpect


class Terminal:
    """Both ends of a terminal. The program gets `program_end`; `text` is all that it wrote so far."""

    def __init__(self, user_end: int, program_end: int) -> None:
        self.program_end = program_end
        self.text = ""
        self._user_end = user_end
        self._seen = 0
        self._more = asyncio.Event()
        os.set_blocking(user_end, False)
        asyncio.get_running_loop().add_reader(user_end, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self._user_end, 65536).decode(errors="replace")
        except OSError:
            # every program has closed its end
            asyncio.get_running_loop().remove_reader(self._user_end)
        self._more.set()

    async def shows(self, words: str) -> None:
        """Wait until words come that were not there before."""
        async with asyncio.timeout(20):
            while (found := self.text.find(words, self._seen)) < 0:
                self._more.clear()
                await self._more.wait()
        self._seen = found + len(words)

    def types(self, text: str) -> None:
        os.write(self._user_end, text.encode())


@contextmanager
def open_terminal() -> Iterator[Terminal]:
    """A terminal of 30 rows and 120 columns."""
    user_end, program_end = pty.openpty()
    fcntl.ioctl(program_end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    terminal = Terminal(user_end, program_end)
    try:
        yield terminal
    finally:
        asyncio.get_running_loop().remove_reader(user_end)
        os.close(user_end)
        os.close(program_end)


def dialogue(program: pexpect.spawn, answers: Iterable[tuple[str, str]]) -> str:
    """Answers each question of a program as it comes, and waits for the program's end; gives all that it showed."""
    shown = ""
    with program:
        for question, answer in answers:
            program.expect_exact(question)
            shown += f"{program.before}{question}"
            program.send(answer)
        program.expect(pexpect.EOF)
        shown += str(program.before)
    return shown
