"""`claude-gateway watch` as a user starts it: on a terminal, through a pipe, once."""

import asyncio
import json
import re
import signal
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, StartGateway, ask, respond, stream
from tests.gateway_process import GATEWAY, Process, outcome, python
from tests.terminal import open_terminal

KEY = "status-key-of-a-test"
Watch = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Starts `python -m gateway watch …` with no settings but those given; its output comes through a pipe."""

    def run(*arguments: str, stdout: int = PIPE, **environment: str) -> AbstractAsyncContextManager[Process]:
        variables = {"COLUMNS": "120"} | environment
        return python(*GATEWAY, "watch", *arguments, folder=tmp_path, environment=variables, stdout=stdout)

    return run


async def line(process: Process, word: str) -> str:
    """The rest of the next line that begins with a word after its time."""
    assert process.stdout is not None
    while raw := await asyncio.wait_for(process.stdout.readline(), 20):
        _, _, said = raw.decode().partition(" ")
        if said.startswith(word):
            return said.removeprefix(word).strip()
    raise AssertionError(f"no line {word!r}")


async def said(process: Process) -> tuple[int | None, str, str]:
    return await asyncio.wait_for(outcome(process), 20)


async def test_through_a_pipe_a_line_comes_for_each_thing_that_happens(
    scripted: ScriptedBackend, start_gateway: StartGateway, watch: Watch
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END), respond(b"{}", status=500), respond(b"{}", status=500)]
    settings = {"enable_circuit_breaker": "true", "circuit_breaker_fail_max": "1", "backend_retries": "0"}
    gateway = await start_gateway(scripted.url, gateway_api_keys="sk-0123456789abcdef name=alice", **settings)
    headers = {"Authorization": "Bearer sk-0123456789abcdef"}
    async with watch("--url", str(gateway.make_url("/"))) as process:
        first = await line(process, "watching")
        async with gateway.post("/v1/messages", json=ask(stream=True), headers=headers) as answer:
            started = await line(process, "started")
            rest.set()
            await answer.read()
        request_id = answer.headers["request-id"]
        finished = await line(process, "finished")
        await gateway.post("/v1/messages", json=ask(), headers=headers)
        failed = await line(process, "finished")
        error = await line(process, "error")
        breaker = await line(process, "breaker")
        process.send_signal(signal.SIGINT)
        code, _, err = await said(process)

    assert re.fullmatch(
        rf"claude-gateway \S+ in front of {scripted.url}/v1/chat/completions: 0 in progress, 0 .*", first
    )
    assert started == f"{request_id} Vendor/Model-1 for alice"
    assert re.fullmatch(
        rf"{request_id} Vendor/Model-1 for alice: done after .+, first token after .+, 30 tokens in, 4 out, .+/s",
        finished,
    )
    assert re.fullmatch(r"req_\w+ Vendor/Model-1 for alice: failed 500 after .+", failed)
    assert error == "500 api_error from the backend | The backend failed; its own log should say why."
    assert breaker == "closed → open"
    assert (code, err) == (130, "")


async def test_a_lost_gateway_is_waited_for_and_found_again(
    scripted: ScriptedBackend, start_gateway: StartGateway, watch: Watch
) -> None:
    gateway = await start_gateway(scripted.url, shutdown_grace_secs="0")
    port = str(gateway.port)
    async with watch(HOST_PORT=port) as process:
        await line(process, "watching")
        await gateway.server.close()
        await line(process, "connection lost, trying again")
        runner = web.AppRunner(gateway_again(scripted), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(port)).start()
        await line(process, "connected again")
        process.send_signal(signal.SIGINT)
        await said(process)
    await runner.cleanup()


def gateway_again(scripted: ScriptedBackend) -> web.Application:
    from gateway.app import make_app
    from gateway.settings import load_settings

    return make_app(load_settings({"backend_url": scripted.url, "shutdown_grace_secs": "0"}, {}, Path("/nowhere")))


async def test_once_shows_all_and_ends(scripted: ScriptedBackend, start_gateway: StartGateway, watch: Watch) -> None:
    rest = asyncio.Event()
    models = [{"id": "Vendor/Model-1", "max_model_len": 131072}, *({"id": f"model-{number}"} for number in range(9))]
    scripted.models = json.dumps({"data": models}).encode()
    scripted.answers = [stream(*HELLO, *END), stream(*HELLO, rest, *END)]
    gateway = await start_gateway(scripted.url)
    await (await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)).read()
    await gateway.post("/v1/messages", json=ask(model="gpt-4o"), headers=TOKEN)
    async with gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as answer:
        await answer.content.readany()
        async with watch("--once", "--url", f"{gateway.make_url('/')}v1") as process:
            code, out, err = await said(process)
        rest.set()
        await answer.read()

    rows = [re.split(r"\s{2,}", row.strip()) for row in out.splitlines()]
    assert (code, err) == (0, "")
    assert any(row[:2] == ["Vendor/Model-1", "writing"] for row in rows)
    assert any(row[:3] == ["Vendor/Model-1", "done", "now"] and row[-3:-1] == ["30", "4"] for row in rows)
    assert any(row[:2] == ["gpt-4o", "refused 404"] for row in rows)
    assert any("1 in progress" in row for row in rows)
    assert "Choose a model from the list below" in out
    assert ["Vendor/Model-1", "128Ki context"] in rows
    assert ["and 2 more"] in rows


async def test_on_a_terminal_it_is_live(scripted: ScriptedBackend, start_gateway: StartGateway, watch: Watch) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END)]
    gateway = await start_gateway(scripted.url, shutdown_grace_secs="0")
    with open_terminal() as terminal:
        url = str(gateway.make_url("/"))
        async with watch("--url", url, stdout=terminal.program_end, TERM="xterm-256color") as process:
            await terminal.shows("nothing is being answered right now")
            async with gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as answer:
                await answer.content.readany()
                await terminal.shows("writing")
                rest.set()
                await answer.read()
            await terminal.shows("done")
            await gateway.server.close()
            await terminal.shows("connection lost, trying again")
            process.send_signal(signal.SIGINT)
            code, _, err = await said(process)
            await terminal.shows("\x1b[?1049l")

    assert (code, err) == (130, "")
    # the terminal's screen is restored
    assert terminal.text.count("\x1b[?1049h") == terminal.text.count("\x1b[?1049l") == 1


async def test_it_wants_the_key_where_the_gateway_does(
    scripted: ScriptedBackend, start_gateway: StartGateway, watch: Watch
) -> None:
    gateway = await start_gateway(scripted.url, status_key=KEY, allowed_hosts="gateway.example")
    # through a name that is not this machine's, as from another machine
    away = {"HTTP_PROXY": str(gateway.make_url("/"))}

    results = []
    for environment in ({}, {"STATUS_KEY": "another-key-than-this"}, {"STATUS_KEY": KEY}):
        async with watch("--once", "--url", "http://gateway.example", **away, **environment) as process:
            results.append(await said(process))

    assert [code for code, _, _ in results] == [1, 1, 0]
    assert "the gateway requires its STATUS_KEY; set STATUS_KEY in the environment" in results[0][2]
    assert "this STATUS_KEY is not the gateway's" in results[1][2]
    assert KEY not in "".join(text for _, *texts in results for text in texts)


async def test_a_gateway_that_shows_others_nothing_says_so(
    scripted: ScriptedBackend, start_gateway: StartGateway, watch: Watch
) -> None:
    gateway = await start_gateway(scripted.url, allowed_hosts="gateway.example")

    away = {"HTTP_PROXY": str(gateway.make_url("/"))}
    async with watch("--once", "--url", "http://gateway.example", **away) as process:
        code, out, err = await said(process)

    assert (code, out) == (1, "")
    assert err.startswith(
        "claude-gateway: http://gateway.example: the status is available only on the gateway's own machine"
    )


async def html(_: web.Request) -> web.Response:
    return web.Response(text="<html>", content_type="text/html")


async def other_feed(_: web.Request) -> web.Response:
    return web.Response(text='event: snapshot\nid: 1\ndata: {"requests": 7}\n\n', content_type="text/event-stream")


async def no_json(_: web.Request) -> web.Response:
    return web.Response(text="id: 1\ndata: hello\n\n", content_type="text/event-stream")


async def nothing(_: web.Request) -> web.Response:
    return web.Response(status=404)


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (html, "a server answers there (200), but it is not a claude-gateway with an event feed"),
        (nothing, "a server answers there (404), but it is not a claude-gateway with an event feed"),
        (other_feed, "this gateway's feed has another format (Expected `array`, got `int` - at `$.requests`); "),
        (no_json, "the response is not a claude-gateway's event feed"),
    ],
)
async def test_something_else_is_told_from_a_gateway(
    handler: Any, text: str, aiohttp_server: Any, watch: Watch
) -> None:
    app = web.Application()
    app.router.add_get("/events", handler)
    server = await aiohttp_server(app)
    url = str(server.make_url("/")).rstrip("/")

    async with watch("--once", "--url", url) as process:
        code, out, err = await said(process)

    assert (code, out) == (1, "")
    assert err.startswith(f"claude-gateway: {url}: {text}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:9", "nothing is listening there; start claude-gateway, or give its address with --url"),
        ("http://nowhere.invalid", "no such host; check --url"),
        ("nonsense", "not a URL; give one such as http://127.0.0.1:8080"),
    ],
)
async def test_what_cannot_be_reached_is_told_in_one_line(url: str, text: str, watch: Watch) -> None:
    async with watch("--url", url) as process:
        code, out, err = await said(process)

    assert (code, out, err) == (1, "", f"claude-gateway: {url}: {text}\n")


async def test_its_help_names_the_key(watch: Watch) -> None:
    async with watch("--help") as process:
        code, out, _ = await said(process)

    assert code == 0
    assert "STATUS_KEY" in out
    assert "--once" in out
