"""Several workers, here in one process: one of them reports for all."""

import asyncio
from pathlib import Path
from typing import Any

from gateway.app import make_app
from gateway.interprocess.scoreboard import Scoreboard
from gateway.settings import load_settings
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, ask, respond, stream
from tests.observability.status.feed_reader import Reader


async def start(board: Scoreboard, scripted: ScriptedBackend, aiohttp_client: Any, folder: Path) -> list[Any]:
    settings = load_settings({"backend_url": scripted.url, "backend_retries": "0"}, {}, folder)
    rows = [board.row(number) for number in range(2)]
    for number, row in enumerate(rows):
        row.begin(pid=100 + number, restarts=0)
    return [
        await aiohttp_client(make_app(settings, row=row), server_kwargs={"handler_cancellation": True}) for row in rows
    ]


async def test_one_worker_tells_what_all_do(
    scripted: ScriptedBackend, no_leaks: None, aiohttp_client: Any, tmp_path: Path
) -> None:
    rest = asyncio.Event()
    scripted.answers = [respond(b"{}", status=500), stream(*HELLO, *END), respond(b"{}", status=500)]
    one, other = await start(Scoreboard(2), scripted, aiohttp_client, tmp_path)
    for worker in (one, other, other):
        await (await worker.post("/v1/messages", json=ask(stream=worker is other), headers=TOKEN)).read()
    scripted.answers = [stream(*HELLO, rest, *END)]

    async with (
        one.get("/events") as response,
        other.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as answer,
    ):
        reader = Reader(response)
        _, first = await reader.next()
        state = await reader.until("requests", 0, "state", equals="writing")
        rest.set()
        await answer.read()
        after = await reader.until("totals", "requests", equals=4)

    assert (first["gateway"]["workers"], first["gateway"]["workers_seen"]) == (2, 2)
    assert (first["totals"]["requests"], first["totals"]["failed"]) == (3, 2)
    assert [ended["outcome"] for ended in first["finished"]] == ["backend_fault", "ok", "backend_fault"]
    # equal errors of two workers are merged
    assert [(failure["status"], failure["count"]) for failure in first["failures"]] == [(500, 2)]
    assert state["requests"][0]["id"] == answer.headers["request-id"]
    assert after["finished"][0]["id"] == answer.headers["request-id"]


async def test_a_worker_that_tells_nothing_is_missing_and_holds_up_nobody(
    scripted: ScriptedBackend, no_leaks: None, aiohttp_client: Any, tmp_path: Path
) -> None:
    board = Scoreboard(3)
    one, _ = await start(board, scripted, aiohttp_client, tmp_path)
    board.row(2).begin(pid=102, restarts=0)

    async with one.get("/events") as response:
        _, state = await Reader(response).next()

    assert (state["gateway"]["workers"], state["gateway"]["workers_seen"]) == (3, 2)


async def test_a_worker_that_died_is_told_of_no_more(
    scripted: ScriptedBackend, no_leaks: None, aiohttp_client: Any, tmp_path: Path
) -> None:
    board = Scoreboard(2)
    scripted.answers = [stream(*HELLO, *END)]
    one, other = await start(board, scripted, aiohttp_client, tmp_path)
    await (await other.post("/v1/messages", json=ask(stream=True), headers=TOKEN)).read()

    async with one.get("/events") as response:
        reader = Reader(response)
        await reader.until("totals", "requests", equals=1)
        await other.server.close()
        board.row(1).clear()
        state = await reader.until("gateway", "workers", equals=1)

    assert (state["totals"]["requests"], state["finished"]) == (0, [])
