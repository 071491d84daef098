"""Several processes, as a user starts them."""

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.serving.workers import supervise
from gateway.settings import Settings, SettingsError
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, ask, events, read_until_cut, stream
from tests.gateway_process import GATEWAY, Process, log_line, python
from tests.observability.metrics.scrape import scrape, scrape_until
from tests.observability.status.feed_reader import Reader

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

# as many connections to two workers would not all go to one of them in the life of the universe
_ENOUGH = 60


@dataclass
class Gateway:
    """A gateway in a process group of its own."""

    process: Process
    url: str = ""
    workers: tuple[int, ...] = ()
    metrics: str = ""

    async def line(self, event: str) -> dict[str, Any]:
        """The next line of the log about `event`."""
        return await log_line(self.process, event)

    async def health(self) -> Any:
        """From any worker: each request has a connection of its own."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/health") as response:
            return await response.json()

    async def ends(self) -> int:
        """The exit code, once the parent and all workers are gone: they have the log in common."""
        assert self.process.stderr is not None
        await asyncio.wait_for(self.process.stderr.read(), 10)
        return await asyncio.wait_for(self.process.wait(), 10)


Start = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a gateway, warnings as errors, with no settings but those given; waits until it listens."""

    @asynccontextmanager
    async def run(
        *, program: tuple[str, ...] = GATEWAY, listens: bool = True, **settings: str
    ) -> AsyncIterator[Gateway]:
        defaults = {"WORKERS": "2", "HOST_PORT": "0", "BACKEND_URL": "http://127.0.0.1:9"}
        async with python(*program, folder=tmp_path, environment=defaults | settings) as process:
            gateway = Gateway(process)
            if listens:
                line = await gateway.line("listening")
                gateway.url, gateway.workers = line["url"], tuple(line["workers"])
                gateway.metrics = line.get("metrics", "")
            yield gateway

    return run


@dataclass
class Stream:
    """A stream that waits in the middle of its answer, and the worker that it runs in."""

    pid: int
    response: aiohttp.ClientResponse
    received: bytes

    async def rest(self) -> list[str]:
        """The names of all events, to the end."""
        return [name for name, _ in events(self.received + await self.response.read())]


@asynccontextmanager
async def streams_in_all(
    gateway: Gateway, backend: ScriptedBackend, rest: asyncio.Event, *, spread: bool = True
) -> AsyncIterator[list[Stream]]:
    """Opens streams until each worker has one; gives all of them. Their answers wait for `rest`.

    Where the kernel does not `spread` connections, one worker can be first each time: it is held until others are.
    """
    backend.answers = [stream(*HELLO, rest, *END)] * _ENOUGH
    opened: list[Stream] = []
    async with AsyncExitStack() as stack:
        while {one.pid for one in opened} != set(gateway.workers):
            session = await stack.enter_async_context(aiohttp.ClientSession())
            post = session.post(f"{gateway.url}/v1/messages", json=ask(stream=True), headers=TOKEN)
            response = await stack.enter_async_context(post)
            received = await response.content.readany()
            status = await gateway.health()
            assert status["streams"] == len(opened) + 1
            known = [one.pid for one in opened]
            (pid,) = [row["pid"] for row in status["workers"] if row["streams"] > known.count(row["pid"])]
            opened.append(Stream(pid, response, received))
            if not spread and len(opened) < len(gateway.workers):
                os.kill(pid, signal.SIGSTOP)
        for pid in gateway.workers:
            os.kill(pid, signal.SIGCONT)
        yield opened


async def test_all_workers_serve_and_health_is_that_of_all(start: Start, scripted: ScriptedBackend) -> None:
    rest = asyncio.Event()
    async with start(WORKERS="3", BACKEND_URL=scripted.url) as gateway:
        assert len(set(gateway.workers)) == 3
        async with streams_in_all(gateway, scripted, rest) as streams:
            status = await gateway.health()
            rest.set()
            ends = [(await one.rest())[-1] for one in streams]
            for _ in streams:
                # a client has its answer a moment before it is over
                await gateway.line("request")
        after = await gateway.health()

    assert status["streams"] == len(streams) == sum(row["streams"] for row in status["workers"])
    assert [row["pid"] for row in status["workers"]] == list(gateway.workers)
    assert ends == ["message_stop"] * len(streams)
    breaker = {"state": "disabled", "failures": 0, "opened": 0}
    assert after["circuit_breaker"] == breaker
    assert after["workers"] == [
        {"pid": pid, "restarts": 0, "streams": 0, "circuit_breaker": breaker} for pid in gateway.workers
    ]


async def test_a_worker_that_dies_is_replaced_and_the_others_do_not_notice(
    start: Start, scripted: ScriptedBackend
) -> None:
    rest = asyncio.Event()
    async with start(BACKEND_URL=scripted.url) as gateway, streams_in_all(gateway, scripted, rest) as streams:
        victim, other = gateway.workers
        os.kill(victim, signal.SIGKILL)
        died = await gateway.line("worker died")
        replaced = await gateway.line("worker replaced")
        for one in streams:
            if one.pid == victim:
                await read_until_cut(one.response)
        survivors = [one for one in streams if one.pid == other]
        status = await gateway.health()
        rest.set()
        ends = [(await one.rest())[-1] for one in survivors]

    assert (died["pid"], died["signal"], died["pause_secs"]) == (victim, "SIGKILL", 0)
    assert [(row["pid"], row["restarts"], row["streams"]) for row in status["workers"]] == [
        (replaced["pid"], 1, 0),
        (other, 0, len(survivors)),
    ]
    assert ends == ["message_stop"] * len(survivors)


async def test_metrics_are_those_of_all_workers_whichever_answers(start: Start, scripted: ScriptedBackend) -> None:
    rest = asyncio.Event()
    async with start(BACKEND_URL=scripted.url, METRICS_PORT="0") as gateway:
        async with streams_in_all(gateway, scripted, rest) as streams:
            # each scrape has a connection of its own, and the kernel spreads them
            during = {(await scrape(gateway.metrics)).series("requests_in_flight")[()] for _ in range(10)}
            rest.set()
            for one in streams:
                await one.rest()
        count = len(streams)
        answered = ("ok", "/v1/messages", "200")
        await scrape_until(gateway.metrics, lambda seen: seen.series("requests_total").get(answered) == count)
        after = [await scrape(gateway.metrics) for _ in range(10)]
        gateway.process.terminate()
        assert await gateway.ends() == 0

    assert during == {count}
    for seen in after:
        assert seen.series("requests_total")[answered] == count
        assert seen.series("tokens_total")["Vendor/Model-1", "output"] == 4 * count
        assert seen.series("stream_duration_seconds_count") == {("Vendor/Model-1",): count}
        assert seen.series("requests_in_flight") == {(): 0}
        assert seen.series("circuit_breakers")["disabled",] == 2
        assert set(seen.series("worker_restarts_total")) == {("0",), ("1",)}


async def test_what_a_worker_counted_stays_when_it_dies_and_what_it_had_open_goes(
    start: Start, scripted: ScriptedBackend
) -> None:
    rest = asyncio.Event()
    async with start(BACKEND_URL=scripted.url, METRICS_PORT="0") as gateway:
        async with streams_in_all(gateway, scripted, rest) as streams:
            rest.set()
            for one in streams:
                await one.rest()
        answered = ("ok", "/v1/messages", "200")
        count = len(streams)
        await scrape_until(gateway.metrics, lambda seen: seen.series("requests_total").get(answered) == count)
        async with streams_in_all(gateway, scripted, asyncio.Event()) as held:
            victim = gateway.workers[0]
            os.kill(victim, signal.SIGKILL)
            await gateway.line("worker replaced")
            left = [one for one in held if one.pid != victim]
            seen = await scrape(gateway.metrics)

    assert seen.series("requests_total")[answered] == count
    assert seen.series("requests_in_flight") == {(): len(left)}
    assert seen.series("worker_restarts_total") == {("0",): 1, ("1",): 0}


async def test_sigterm_to_one_worker_lets_its_streams_end_and_replaces_it(
    start: Start, scripted: ScriptedBackend
) -> None:
    rest = asyncio.Event()
    async with start(BACKEND_URL=scripted.url) as gateway, streams_in_all(gateway, scripted, rest) as streams:
        os.kill(gateway.workers[0], signal.SIGTERM)
        assert (await gateway.line("shutting down"))["pid"] == gateway.workers[0]
        rest.set()
        ends = [(await one.rest())[-1] for one in streams]
        died = await gateway.line("worker died")
        await gateway.line("worker replaced")

    assert ends == ["message_stop"] * len(streams)
    assert (died["pid"], died["exit_code"]) == (gateway.workers[0], 0)


@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
    ids=["SIGTERM", "SIGTERM to the group, as systemd does", "Ctrl-C in a terminal"],
)
async def test_a_signal_lets_running_streams_end(
    number: signal.Signals, to_all: bool, start: Start, scripted: ScriptedBackend
) -> None:
    rest = asyncio.Event()
    async with start(BACKEND_URL=scripted.url) as gateway, streams_in_all(gateway, scripted, rest) as streams:
        (os.killpg if to_all else os.kill)(gateway.process.pid, number)
        lines = [await gateway.line("shutting down") for _ in range(3)]
        rest.set()
        ends = [(await one.rest())[-1] for one in streams]
        code = await gateway.ends()

    assert sorted(line["pid"] for line in lines if "pid" in line) == sorted(gateway.workers)
    assert ends == ["message_stop"] * len(streams)
    assert code == 0


async def test_a_second_signal_ends_all_at_once(start: Start, scripted: ScriptedBackend) -> None:
    async with (
        start(BACKEND_URL=scripted.url) as gateway,
        streams_in_all(gateway, scripted, asyncio.Event()) as streams,
    ):
        gateway.process.terminate()
        for _ in range(3):
            await gateway.line("shutting down")
        gateway.process.terminate()
        code = await gateway.ends()
        for one in streams:
            await read_until_cut(one.response)

    assert code == 128 + signal.SIGTERM


async def test_no_worker_outlives_a_parent_that_is_killed(start: Start, scripted: ScriptedBackend) -> None:
    rest = asyncio.Event()
    async with start(BACKEND_URL=scripted.url) as gateway, streams_in_all(gateway, scripted, rest) as streams:
        gateway.process.kill()
        for _ in gateway.workers:
            await gateway.line("shutting down")
        rest.set()
        ends = [(await one.rest())[-1] for one in streams]
        code = await gateway.ends()

    assert code == -signal.SIGKILL
    assert ends == ["message_stop"] * len(streams)


@pytest.mark.skipif(sys.platform != "linux", reason="sets the limits of another process")
@pytest.mark.parametrize("spare", [0, 3], ids=["the parent has no file left for it", "it has too few files itself"])
async def test_a_worker_that_cannot_start_is_tried_again_with_pauses(spare: int, start: Start) -> None:
    async with start() as gateway:
        pid = gateway.process.pid
        used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1  # noqa: PTH208  # no folder of a disk
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # the victim's end of its line is closed by then
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used - 1 + spare, before[1]))
        os.kill(gateway.workers[1], signal.SIGKILL)
        await gateway.line("worker died")
        failed = "worker died" if spare else "worker not started"
        pauses = [(await gateway.line(failed))["pause_secs"] for _ in range(5)]
        status = await gateway.health()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        replaced = await gateway.line("worker replaced")
        after = await gateway.health()
        gateway.process.terminate()
        code = await gateway.ends()

    # the kill came within the first second of the victim's life, or later
    assert pauses in ([0, 0, 0, 0.5, 1], [0, 0, 0, 0, 0.5])
    assert [row["pid"] for row in status["workers"]] == [gateway.workers[0]]
    assert [row["pid"] for row in after["workers"]] == [gateway.workers[0], replaced["pid"]]
    assert code == 0


@pytest.mark.parametrize("others", [None, "1", "2"], ids=["another server", "another gateway", "another with workers"])
async def test_an_address_that_is_taken_is_told_in_one_line(others: str | None, start: Start) -> None:
    async with AsyncExitStack() as stack:
        if others is None:
            taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = str(taken.getsockname()[1])
        else:
            other = await stack.enter_async_context(start(listens=False, WORKERS=others))
            port = (await other.line("listening"))["url"].rpartition(":")[2]
        gateway = await stack.enter_async_context(start(listens=False, HOST_PORT=port))
        out, err = await gateway.process.communicate()

    assert (gateway.process.returncode, out) == (2, b"")
    assert err.decode() == (
        f"claude-gateway: HOST=127.0.0.1 HOST_PORT={port}: Address already in use: "
        "another program, perhaps another gateway, listens there: end it, or set HOST_PORT to a free port\n"
    )


async def test_a_host_that_cannot_be_found_is_told_in_one_line(start: Start) -> None:
    async with start(listens=False, HOST="nowhere.invalid") as gateway:
        _, err = await gateway.process.communicate()

    assert gateway.process.returncode == 2
    assert err.startswith(b"claude-gateway: HOST=nowhere.invalid: ")
    assert err.count(b"\n") == 1


@pytest.mark.parametrize("host", ["::1", "localhost"])
async def test_all_addresses_of_the_host_have_one_port(host: str, start: Start) -> None:
    async with start(HOST=host) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, address in found:
            _, writer = await asyncio.open_connection(*address[:2])
            writer.close()
            await writer.wait_closed()
        gateway.process.terminate()
        assert await gateway.ends() == 0


async def test_where_the_kernel_does_not_spread_connections_the_workers_share_a_socket(
    start: Start, scripted: ScriptedBackend
) -> None:
    elsewhere = (
        "import sys, gateway.serving.server; sys.platform = 'darwin'; from gateway.cli import main; sys.exit(main([]))"
    )
    rest = asyncio.Event()
    async with (
        start(program=("-c", elsewhere), BACKEND_URL=scripted.url) as gateway,
        streams_in_all(gateway, scripted, rest, spread=False) as streams,
    ):
        os.kill(gateway.workers[0], signal.SIGTERM)
        await gateway.line("shutting down")
        for _ in range(10):
            await gateway.health()
        rest.set()
        ends = [(await one.rest())[-1] for one in streams]
        await gateway.line("worker replaced")
        gateway.process.terminate()
        code = await gateway.ends()

    assert ends == ["message_stop"] * len(streams)
    assert code == 0


def test_where_processes_cannot_fork_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")

    with pytest.raises(SettingsError, match=r"^WORKERS=2: must be 1 on this system"):
        supervise(Settings(workers=2, host_port=0))


async def test_the_feed_of_any_worker_shows_the_answers_of_all(start: Start, scripted: ScriptedBackend) -> None:
    rest = asyncio.Event()
    async with (
        start(BACKEND_URL=scripted.url, SHUTDOWN_GRACE_SECS="1") as gateway,
        streams_in_all(gateway, scripted, rest) as streams,
        aiohttp.ClientSession() as session,
        session.get(f"{gateway.url}/events") as response,
    ):
        reader = Reader(response)
        await reader.next()
        await reader.until("gateway", "workers_seen", equals=2)
        state = await reader.until("requests", len(streams) - 1, "state", equals="writing")
        rest.set()
        assert {(await stream.rest())[-1] for stream in streams} == {"message_stop"}
        await reader.until("totals", "ok", equals=len(streams))

    ids = {stream.response.headers["request-id"] for stream in streams}
    assert {running["id"] for running in state["requests"]} == ids
    assert {finished["id"] for finished in reader.state["finished"]} == ids
