"""Child processes that read PDFs: kept warm, killed where a document takes too much."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Final

from gateway.documents.child import LENGTH, TEXT
from gateway.documents.fair_slots import FairSlots
from gateway.documents.pdf import UnreadablePDF

_CHILDREN: Final = 2
# of a document, on the clock: more than its processor time, which others may hold up
_SECONDS: Final = 45.0
_IDLE_SECONDS: Final = 60.0
# for a process that ends by itself
_LAST_SECONDS: Final = 1.0
# what a child needs of the gateway's environment, which may hold keys
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG")
# the limit of what a child writes: four bytes for each of the characters that it may give
_MOST_BYTES: Final = 4 * 4_000_000 + 1_000_000


class _Child:
    """One process, at most one document at a time."""

    __slots__ = ("expiry", "process")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.expiry: asyncio.TimerHandle | None = None

    @property
    def lives(self) -> bool:
        """Whether it can read another document, as far as is known."""
        stdout = self.process.stdout
        return self.process.returncode is None and stdout is not None and not stdout.at_eof()

    async def read(self, data: bytes) -> str:
        """Raises UnreadablePDF, and OSError or IncompleteReadError where the process is gone."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise BrokenPipeError
        stdin.write(LENGTH.pack(len(data)))
        stdin.write(data)
        await stdin.drain()
        kind = await stdout.readexactly(1)
        (size,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        if size > _MOST_BYTES:
            raise BrokenPipeError
        text = (await stdout.readexactly(size)).decode()
        if kind != TEXT:
            raise UnreadablePDF(text)
        return text


class ReaderPool:
    """Reads documents, several at a time; those of different owners take turns."""

    def __init__(
        self, children: int = _CHILDREN, *, seconds: float = _SECONDS, idle_seconds: float = _IDLE_SECONDS
    ) -> None:
        """`seconds`: how long one document may take; `idle_seconds`: how long an idle process is kept."""
        # one owner never holds all
        self._slots = FairSlots(children, max(1, children - 1))
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._idle: list[_Child] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def read(self, data: str, owner: str) -> str:
        """The text of a base64 PDF. Raises UnreadablePDF. A caller that is cancelled ends the reading."""
        async with self._slots.slot(owner):
            child = await self._child()
            try:
                async with asyncio.timeout(self._seconds):
                    text = await child.read(data.encode("utf-8", "replace"))
            except UnreadablePDF:
                self._keep(child)
                raise
            except TimeoutError:
                self._end(child)
                raise UnreadablePDF("reading it takes too long") from None
            except (OSError, asyncio.IncompleteReadError):
                self._end(child, kill=False)
                raise UnreadablePDF("reading it takes too long or too much memory, or ends the reader") from None
            except BaseException:
                self._end(child)
                raise
            self._keep(child)
            return text

    async def close(self) -> None:
        """End all processes."""
        self._closed = True
        while self._idle:
            self._end(self._idle.pop(), kill=False)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _child(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.expiry is not None:
                child.expiry.cancel()
            if child.lives:
                return child
            self._end(child, kill=False)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        return _Child(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.documents.child",
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env=environment,
                # a terminal's Ctrl-C is not for it
                start_new_session=True,
            )
        )

    def _keep(self, child: _Child) -> None:
        if self._closed:
            self._end(child)
            return
        self._idle.append(child)
        child.expiry = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire, child)

    def _expire(self, child: _Child) -> None:
        if child in self._idle:
            self._idle.remove(child)
            self._end(child, kill=False)

    def _end(self, child: _Child, *, kill: bool = True) -> None:
        """End a process. `kill`: it may be busy; else it has ended its output, or ends with its input."""
        if child.expiry is not None:
            child.expiry.cancel()
        ending = asyncio.create_task(_ended(child.process, kill=kill), name="end of a document reader")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def _ended(process: Process, *, kill: bool) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if not kill:
        # asyncio warns about a process that has died by itself and is killed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
