"""Readers of every kind, on a fast feed of made-up states."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.anthropic.errors import ApiError
from gateway.observability.status.access import StatusAccess
from gateway.observability.status.feed import ACCESS, FEED, Feed, events
from gateway.observability.status.state import State, Totals
from tests.observability.status.feed_reader import Reader


@asynccontextmanager
async def listening_to(feed: Feed, aiohttp_client: Any) -> AsyncIterator[Any]:
    app = web.Application()
    app[FEED] = feed
    app[ACCESS] = StatusAccess("")
    app.router.add_get("/events", events)
    yield await aiohttp_client(app, server_kwargs={"handler_cancellation": True})
    await feed.close()


async def nothing() -> None:
    """There is no other worker to wait for."""


class Counting:
    """Gives a different state each time, and counts the calls."""

    def __init__(self, size: int = 0) -> None:
        self.looks = 0
        self.firsts = 0
        self.padding = [float(number) for number in range(size)]

    def __call__(self, first: bool) -> State:
        self.looks += 1
        self.firsts += first
        return State(totals=Totals(requests=self.looks), rates=[*self.padding, float(self.looks)])


async def test_nothing_is_computed_while_nobody_listens(aiohttp_client: Any, no_leaks: None) -> None:
    look = Counting()
    async with listening_to(Feed(look, nothing, interval=0.01, linger=0.05), aiohttp_client) as client:
        assert look.looks == 0
        async with client.get("/events") as response:
            reader = Reader(response)
            await reader.next()
            name, _ = await reader.next()
            assert name == "change"
        # it lingers for readers that reconnect, then stops
        async with asyncio.timeout(5):
            while any(task.get_name() == "status feed" for task in asyncio.all_tasks()):  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
        asked = look.looks
        async with client.get("/events", headers={"Last-Event-ID": reader.last_id}) as response:
            name, data = await Reader(response).next()
            assert (name, data["reset"]) == ("snapshot", "gap")
        assert look.firsts == 2
        assert data["totals"]["requests"] == asked + 1


@asynccontextmanager
async def taking_nothing(port: int) -> AsyncIterator[Callable[[], Any]]:
    """A reader that reads nothing until the function is called; it returns the next bytes, or b"" at the end."""
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)
        await loop.sock_sendall(connection, b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        yield lambda: loop.sock_recv(connection, 2**20)


async def test_a_slow_reader_is_given_a_snapshot_and_holds_up_nobody(aiohttp_client: Any, no_leaks: None) -> None:
    look = Counting(size=20_000)
    async with (
        listening_to(Feed(look, nothing, interval=0.002), aiohttp_client) as client,
        taking_nothing(client.port) as take,
    ):
        async with client.get("/events") as response:
            quick = Reader(response)
            # far more than all buffers on the way can hold
            while quick.at("totals", "requests") is None or look.looks < 150:
                await quick.next()
        received, numbers, resets = b"", [], []
        while not numbers or numbers[-1] < 150:
            received += await take()
            *frames, received = received.split(b"\n\n")
            for line in b"\n".join(frames).split(b"\n"):
                if line.startswith(b"data: "):
                    data = json.loads(line.removeprefix(b"data: "))
                    numbers.append(data["totals"]["requests"])
                    resets.append(data.get("reset"))

    first_gap = resets.index("gap")
    assert resets[0] == "start"
    # the lost events are consecutive, and those after them are complete
    assert numbers[first_gap] - numbers[first_gap - 1] > 1
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 150


async def test_a_fault_in_the_state_ends_the_reading_and_the_next_one_begins_anew(
    aiohttp_client: Any, no_leaks: None, caplog: pytest.LogCaptureFixture
) -> None:
    states = [State(), State(in_flight=1), RuntimeError("a fault of ours"), State(in_flight=2)]

    def look(_: bool) -> State:
        state = states.pop(0) if len(states) > 1 else states[0]
        if isinstance(state, Exception):
            raise state
        return state

    async with listening_to(Feed(look, nothing, interval=0.01), aiohttp_client) as client:
        async with client.get("/events") as response:
            received = await response.content.read()
        async with client.get("/events") as response:
            _, data = await Reader(response).next()

    assert received.count(b"event: ") == 2
    assert data["in_flight"] == 2


async def test_a_silent_feed_is_kept_open_by_comments(aiohttp_client: Any, no_leaks: None) -> None:
    feed = Feed(lambda _: State(), nothing, interval=0.01, silence=0.02)
    async with listening_to(feed, aiohttp_client) as client, client.get("/events") as response:
        await Reader(response).next()
        assert await response.content.readuntil(b"\n\n") == b":\n\n"


async def test_a_reader_that_takes_nothing_at_all_is_left(aiohttp_client: Any, no_leaks: None) -> None:
    feed = Feed(Counting(size=50_000), nothing, interval=0.005, stuck=0.2)
    async with listening_to(feed, aiohttp_client) as client, taking_nothing(client.port) as take:
        async with asyncio.timeout(20):
            while feed.idle:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
            while not feed.idle:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionResetError):
                while await take():
                    pass


async def test_a_closed_feed_takes_no_more_readers(no_leaks: None) -> None:
    feed = Feed(lambda _: State(), nothing)
    await feed.close()

    with pytest.raises(ApiError):
        async with feed.listening():
            pass
