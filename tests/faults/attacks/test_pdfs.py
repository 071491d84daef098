"""PDFs made to take all time or memory: they cost their own request a note, and nobody else anything."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import ask
from tests.documents.pdf_files import bomb, encoded, pdf
from tests.faults.conftest import Backend, Process, backend, json_response, serve, session, until

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(120)]

MIB = 1024 * 1024
ANSWER = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
MALLORY, ALICE = "mallory-0123456789abcdef", "alice-0123456789abcdef01"


def message(documents: Sequence[str]) -> dict[str, Any]:
    sources = ({"type": "base64", "media_type": "application/pdf", "data": data} for data in documents)
    return ask(messages=[{"role": "user", "content": [{"type": "document", "source": source} for source in sources]}])


@asynccontextmanager
async def line(folder: Path, **settings: str) -> AsyncIterator[tuple[Process, Backend]]:
    keys = f"{MALLORY} name=mallory,{ALICE} name=alice"
    settings = {"GATEWAY_API_KEYS": keys, "LOG_FORMAT": "json"} | settings
    async with backend() as served, serve(folder, BACKEND_URL=served.url, **settings) as gateway:
        served.whole = json_response(json.dumps(ANSWER).encode())
        yield gateway, served


async def prompt(gateway: Process, served: Backend, key: str, *documents: str) -> str:
    """What the backend was asked for a message with these documents."""
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        session() as client,
        client.post(
            f"{gateway.url}/v1/messages",
            data=io.BytesIO(json.dumps(message(documents)).encode()),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=100),
        ) as response,
    ):
        assert response.status == 200, await response.text()
    return str(json.loads(await served.asked.get())["messages"][0]["content"])


def readers_of(pid: int) -> list[int]:
    """The gateway's processes that read documents."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"gateway.documents" in Path(f"/proc/{child}/cmdline").read_bytes()]


def alive(pids: Sequence[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def test_a_document_without_end_costs_its_own_request_a_note(tmp_path: Path) -> None:
    async with line(tmp_path) as (gateway, served):
        hello = encoded(pdf("Hello"))
        assert "Hello" in await prompt(gateway, served, ALICE, hello)
        before, used = gateway.rss, processor_seconds(gateway.pid)
        hostile = asyncio.create_task(prompt(gateway, served, MALLORY, encoded(bomb())))
        await until(lambda: any(processor_seconds(pid) > 1 for pid in readers_of(gateway.pid)), 30)

        # others' documents are read meanwhile
        assert "Another" in await asyncio.wait_for(prompt(gateway, served, ALICE, encoded(pdf("Another"))), 20)
        assert "the PDF cannot be read: reading it takes too" in await hostile

        assert gateway.rss - before < 30 * MIB
        assert processor_seconds(gateway.pid) - used < 5
        # it is known now
        started = time.monotonic()
        assert "the PDF cannot be read: reading it takes too" in await prompt(gateway, served, MALLORY, encoded(bomb()))
        assert time.monotonic() - started < 5


async def test_a_client_that_leaves_ends_the_reading_of_its_document(tmp_path: Path) -> None:
    async with line(tmp_path) as (gateway, served):
        hostile = asyncio.create_task(prompt(gateway, served, MALLORY, encoded(bomb())))
        await until(lambda: any(processor_seconds(pid) > 0.5 for pid in readers_of(gateway.pid)), 30)
        hostile.cancel()
        await asyncio.wait([hostile])
        await until(lambda: not readers_of(gateway.pid), 5)


async def test_a_document_that_is_being_read_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with line(tmp_path, SHUTDOWN_GRACE_SECS="0") as (gateway, served):
        hostile = asyncio.create_task(prompt(gateway, served, MALLORY, encoded(bomb())))
        await until(lambda: any(processor_seconds(pid) > 0.5 for pid in readers_of(gateway.pid)), 30)
        readers = readers_of(gateway.pid)
    # `serve` waits for the end, ten seconds at most
    await asyncio.wait([hostile])
    assert hostile.exception() is not None
    assert not alive(readers)


async def test_thousands_of_documents_are_read_up_to_a_number(tmp_path: Path) -> None:
    async with line(tmp_path) as (gateway, served):
        documents = [encoded(pdf(f"Number {number}")) for number in range(5000)]
        text = await asyncio.wait_for(prompt(gateway, served, MALLORY, *documents), 60)
        assert text.count("Number ") == 200
        assert text.count("only 200 documents of a conversation are read") == 4800


async def test_unreadable_documents_are_not_kept(tmp_path: Path) -> None:
    async with line(tmp_path) as (gateway, served):
        await prompt(gateway, served, ALICE, encoded(pdf("Hello")))
        before = gateway.rss
        for number in range(12):
            junk = encoded(b"%%PDF-1.4 %d" % number + bytes(15 * MIB))
            assert "the PDF cannot be read" in await prompt(gateway, served, MALLORY, junk)
        # the size of two or three of these at most, however many there were
        await until(lambda: gateway.rss - before < 64 * MIB, 20)
