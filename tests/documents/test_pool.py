"""PDFs read in processes of their own: what a bad one costs, and whom."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.documents.pdf import UnreadablePDF
from gateway.documents.pool import ReaderPool
from tests.documents.pdf_files import bomb, encoded, pdf
from tests.faults.conftest import until

HELLO, BOMB = encoded(pdf("Hello")), encoded(bomb())
READ = "[page 1]\nHello"


@asynccontextmanager
async def pool(**options: float) -> AsyncIterator[ReaderPool]:
    readers = ReaderPool(**options)  # type: ignore[arg-type]
    try:
        yield readers
    finally:
        await readers.close()


def children() -> list[int]:
    """The processes of this one that read documents."""
    found = []
    for entry in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        command = Path(f"/proc/{entry}/cmdline").read_bytes()
        if b"gateway.documents.child" in command:
            found.append(int(entry))
    return found


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_documents_are_read_one_after_the_other_by_one_process(no_leaks: None) -> None:
    async with pool() as readers:
        assert await readers.read(HELLO, "alice") == READ
        (first,) = children()
        assert await readers.read(HELLO, "alice") == READ
        assert children() == [first]
    assert children() == []


async def test_an_idle_process_ends(no_leaks: None) -> None:
    async with pool(idle_seconds=0.05) as readers:
        assert await readers.read(HELLO, "alice") == READ
        await until(lambda: not children(), 10)
        assert await readers.read(HELLO, "alice") == READ


async def test_a_document_that_never_ends_is_given_up(no_leaks: None) -> None:
    async with pool(seconds=0.5) as readers:
        with pytest.raises(UnreadablePDF, match="takes too long"):
            await readers.read(BOMB, "mallory")
        await until(lambda: not children(), 10)
        assert await readers.read(HELLO, "alice") == READ


async def test_others_are_read_meanwhile(no_leaks: None) -> None:
    async with pool() as readers:
        bombs = [asyncio.create_task(readers.read(BOMB, "mallory")) for _ in range(5)]
        await until(lambda: len(children()) == 1, 10)
        async with asyncio.timeout(5):
            assert await readers.read(HELLO, "alice") == READ
        for bomb_ in bombs:
            bomb_.cancel()
        await asyncio.wait(bombs)


async def test_a_caller_that_leaves_ends_the_reading(no_leaks: None) -> None:
    async with pool() as readers:
        reading = asyncio.create_task(readers.read(BOMB, "mallory"))
        await until(lambda: len(children()) == 1, 10)
        reading.cancel()
        await asyncio.wait([reading])
        await until(lambda: not children(), 10)


async def test_a_process_that_dies_costs_one_document(no_leaks: None) -> None:
    async with pool() as readers:
        reading = asyncio.create_task(readers.read(BOMB, "mallory"))
        await until(lambda: len(children()) == 1, 10)
        os.kill(children()[0], signal.SIGKILL)
        with pytest.raises(UnreadablePDF, match="or ends the reader"):
            await reading
        assert await readers.read(HELLO, "mallory") == READ


async def test_a_process_that_died_idle_is_replaced(no_leaks: None) -> None:
    async with pool() as readers:
        await readers.read(HELLO, "alice")
        os.kill(children()[0], signal.SIGKILL)
        await until(lambda: not children(), 10)
        # its output has ended, too
        await asyncio.sleep(0.01)
        assert await readers.read(HELLO, "alice") == READ


async def test_it_inherits_no_secret(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKEND_API_KEY", "canary")
    async with pool() as readers:
        await readers.read(HELLO, "alice")
        assert b"canary" not in environment(children()[0])
