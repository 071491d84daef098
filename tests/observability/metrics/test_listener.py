"""`METRICS_PORT` as an operator sees it."""

import asyncio
import gzip
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest

from gateway.app import METRICS_URL
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, StartGateway, ask, events, read_until, stream
from tests.gateway_process import GATEWAY, Process, log_line, python
from tests.observability.metrics.scrape import scrape

Start = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a gateway as a process, warnings as errors, with no settings but those given."""

    def run(**settings: str) -> AbstractAsyncContextManager[Process]:
        return python(*GATEWAY, folder=tmp_path, environment={"HOST_PORT": "0"} | settings)

    return run


async def test_metrics_last_until_the_last_answer_has_ended(start: Start, scripted: ScriptedBackend) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END)]
    async with start(BACKEND_URL=scripted.url, METRICS_PORT="0") as process, aiohttp.ClientSession() as session:
        line = await log_line(process, "listening")
        post = session.post(f"{line['url']}/v1/messages", json=ask(stream=True), headers=TOKEN)
        async with post as response:
            received = await read_until(response, b'"lo"')
            process.send_signal(signal.SIGTERM)
            await log_line(process, "shutting down")
            while await _is_open(line["url"]):  # noqa: ASYNC110  # another process tells nobody
                await asyncio.sleep(0.01)
            ending = await scrape(line["metrics"])
            rest.set()
            received += await response.read()
        assert await asyncio.wait_for(process.wait(), 10) == 0

    assert ending.series("requests_in_flight") == {(): 1}
    assert events(received)[-1][0] == "message_stop"


async def _is_open(url: str) -> bool:
    port = int(url.rpartition(":")[2])
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_without_a_port_the_library_is_not_even_loaded() -> None:
    program = "import sys, gateway.serving.server, gateway.serving.workers; print('prometheus_client' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()

    assert out == b"False\n"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_port_that_is_taken_is_told_in_one_line(workers: str, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with start(METRICS_PORT=port, WORKERS=workers) as process:
            out, err = await process.communicate()

    assert (process.returncode, out) == (2, b"")
    assert err.decode() == (
        f"claude-gateway: METRICS_HOST=127.0.0.1 METRICS_PORT={port}: Address already in use: "
        "another program, perhaps another gateway, listens there: end it, or set METRICS_PORT to a free port\n"
    )


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_host_that_cannot_be_found_is_told_in_one_line(workers: str, start: Start) -> None:
    async with start(METRICS_PORT="0", METRICS_HOST="nowhere.invalid", WORKERS=workers) as process:
        _, err = await process.communicate()

    assert process.returncode == 2
    assert err.startswith(b"claude-gateway: METRICS_HOST=nowhere.invalid: ")
    assert err.count(b"\n") == 1


async def metrics_url(start_gateway: StartGateway) -> str:
    gateway = await start_gateway("http://127.0.0.1:9", metrics_port="0")
    app = gateway.app
    assert app is not None
    return app[METRICS_URL]


@pytest.mark.parametrize(
    ("accept", "content_type", "last_line"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", None),
        ("text/html", "text/plain; version=0.0.4; charset=utf-8", None),
        # what Prometheus 2.42 sends
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            "# EOF",
        ),
    ],
    ids=["nothing", "a browser", "Prometheus"],
)
async def test_a_scraper_gets_the_form_that_it_asks_for(
    accept: str, content_type: str, last_line: str | None, start_gateway: StartGateway
) -> None:
    url = await metrics_url(start_gateway)

    async with aiohttp.ClientSession() as session, session.get(url, headers={"Accept": accept}) as response:
        text = await response.text()

    assert (response.status, response.headers["Content-Type"]) == (200, content_type)
    assert response.headers["Server"] == "claude-gateway"
    assert "claude_gateway_build_info{" in text
    assert last_line is None or text.splitlines()[-1] == last_line


async def test_a_scraper_that_takes_gzip_gets_it(start_gateway: StartGateway) -> None:
    url = await metrics_url(start_gateway)

    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(url, headers={"Accept-Encoding": "gzip"}) as response,
    ):
        body = await response.read()

    assert response.headers["Content-Encoding"] == "gzip"
    assert b"claude_gateway_build_info{" in gzip.decompress(body)


async def test_nothing_else_is_served_there(start_gateway: StartGateway) -> None:
    url = await metrics_url(start_gateway)
    root = url.removesuffix("/metrics")

    async with aiohttp.ClientSession() as session:
        hint = await (await session.get(f"{root}/")).text()
        statuses = [(await session.get(root + path)).status for path in ("/health", "/v1/models", "/v1/messages")]

    assert hint == "claude-gateway: metrics for Prometheus are at /metrics\n"
    assert statuses == [404, 404, 404]
