"""The commands as a user starts them: as processes."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.settings import Settings
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, ask, events, read_until, silence, stream
from tests.gateway_process import GATEWAY, Process, outcome, python

# a command line can be read by others: secrets have no flag
FLAGS = [setting for setting in fields(Settings) if not setting.metadata["secret"]]
Start = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts `python -m gateway …` in an empty folder, warnings as errors, with no settings but those given."""

    def run(*arguments: str, **environment: str) -> AbstractAsyncContextManager[Process]:
        return python(*GATEWAY, *arguments, folder=tmp_path, environment=environment)

    return run


def log_lines(err: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in err.splitlines()]


async def listening_url(process: Process) -> str:
    """The URL in the first line of the log."""
    assert process.stderr is not None
    line: dict[str, Any] = json.loads(await process.stderr.readline())
    assert line["event"] == "listening", line
    url: str = line["url"]
    return url


async def test_help_of_serve_is_complete(start: Start) -> None:
    async with start("--help") as process:
        code, out, err = await outcome(process)

    assert (code, err) == (0, "")
    assert re.search(r"^  demo +run the gateway with an embedded backend", out, re.MULTILINE)
    assert len(re.findall(r"\[[A-Z_]+, default:", " ".join(out.split()))) == len(FLAGS)


async def test_help_of_demo_has_all_settings_but_the_backend(start: Start) -> None:
    async with start("demo", "--help") as process:
        code, out, _ = await outcome(process)

    assert code == 0
    assert "--once" in out
    assert "BACKEND_URL" not in out
    assert len(re.findall(r"\[[A-Z_]+, default:", " ".join(out.split()))) == len(FLAGS) - 1


@pytest.mark.parametrize("command", ["serve", "demo"])
async def test_a_wrong_setting_ends_the_start_with_one_line(command: str, start: Start) -> None:
    async with start(command, HOST_PORT="eighty") as process:
        code, out, err = await outcome(process)

    assert (code, out) == (2, "")
    assert err == "claude-gateway: HOST_PORT=eighty: must be a port from 0 to 65535 (0: any free one)\n"


async def test_an_unknown_flag_ends_the_start(start: Start) -> None:
    async with start("--bakend-url", "http://h") as process:
        code, _, err = await outcome(process)

    assert code == 2
    assert "unrecognized arguments: --bakend-url http://h" in err


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("serv", "did you mean serve?"),
        ("http://127.0.0.1:8000", "the commands are serve, health, demo, setup, check,"),
    ],
)
async def test_an_unknown_command_ends_the_start_with_those_that_there_are(word: str, hint: str, start: Start) -> None:
    async with start(word) as process:
        code, out, err = await outcome(process)

    assert (code, out) == (2, "")
    assert err.startswith(f"claude-gateway: there is no command '{word}': {hint}")


async def test_a_port_that_is_taken_is_told_in_one_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with start(HOST_PORT=str(port)) as process:
            code, _, err = await outcome(process)

    assert code == 2
    assert err == (
        f"claude-gateway: HOST=127.0.0.1 HOST_PORT={port}: Address already in use: "
        "another program, perhaps another gateway, listens there: end it, or set HOST_PORT to a free port\n"
    )


async def test_a_host_that_cannot_be_found_is_told_in_one_line(start: Start) -> None:
    async with start("--host", "nowhere.invalid", "--host-port", "0") as process:
        code, _, err = await outcome(process)

    assert code == 2
    assert re.fullmatch(r"claude-gateway: HOST=nowhere\.invalid: .*\n", err)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_ends_it_in_order(number: signal.Signals, start: Start) -> None:
    async with start("--host-port", "0", BACKEND_URL="http://127.0.0.1:9") as process:
        url = await listening_url(process)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
            assert response.status == 200
        process.send_signal(number)
        code, out, err = await outcome(process)

    assert (code, out) == (0, "")
    # it may have seen before that there is no backend
    events = [line["event"] for line in log_lines(err)]
    assert [event for event in events if event != "backend not reached"] == ["shutting down"]


async def test_a_running_stream_ends_well_after_a_signal(start: Start, scripted: ScriptedBackend) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END)]
    async with start(HOST_PORT="0", BACKEND_URL=scripted.url) as process, aiohttp.ClientSession() as session:
        url = await listening_url(process)
        async with session.post(f"{url}/v1/messages", json=ask(stream=True), headers=TOKEN) as response:
            received = await response.content.readany()
            process.terminate()
            assert process.stderr is not None
            while b"shutting down" not in await process.stderr.readline():
                pass
            rest.set()
            received += await response.content.read()
        code, _, _ = await outcome(process)

    assert events(received)[-1][0] == "message_stop"
    assert code == 0


async def test_answers_that_outlive_the_grace_end_with_an_error_that_asks_to_come_again(
    start: Start, scripted: ScriptedBackend
) -> None:
    scripted.answers = [stream(*HELLO, asyncio.Event()), silence(asyncio.Event())]
    settings = {"HOST_PORT": "0", "BACKEND_URL": scripted.url, "SHUTDOWN_GRACE_SECS": "0.3"}
    async with start(**settings) as process, aiohttp.ClientSession() as session:
        url = await listening_url(process)
        async with session.post(f"{url}/v1/messages", json=ask(stream=True), headers=TOKEN) as response:
            received = await read_until(response, b'"lo"')
            scripted.asked.clear()
            asking = asyncio.create_task(session.post(f"{url}/v1/messages", json=ask(), headers=TOKEN))
            await scripted.asked.wait()
            process.terminate()
            received += await response.read()
        waiting = await asking
        error = (await waiting.json())["error"]
        code, _, log = await outcome(process)

    said = "this gateway is being shut down, and another will take over; try again"
    name, data = events(received)[-1]
    assert (name, data["error"]) == ("error", {"type": "overloaded_error", "message": said})
    assert b"message_stop" not in received
    assert (waiting.status, waiting.headers["x-should-retry"], waiting.headers["retry-after"]) == (529, "true", "1")
    assert error == {"type": "overloaded_error", "message": said}
    assert code == 0
    assert "Traceback" not in log


async def test_at_shutdown_requests_are_taken_until_load_balancers_have_noticed(
    start: Start, scripted: ScriptedBackend
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    settings = {"HOST_PORT": "0", "BACKEND_URL": scripted.url, "SHUTDOWN_DELAY_SECS": "1"}
    async with start(**settings) as process, aiohttp.ClientSession() as session:
        url = await listening_url(process)
        await scripted.was_listed.wait()
        process.terminate()
        assert process.stderr is not None
        while b"shutting down" not in await process.stderr.readline():
            pass
        # both over new connections
        async with session.get(f"{url}/ready") as response:
            ready = (response.status, await response.json())
        async with session.post(f"{url}/v1/messages", json=ask(stream=True), headers=TOKEN) as response:
            received = await response.read()
        code, _, _ = await outcome(process)

    assert ready == (503, {"status": "not ready", "reasons": ["the gateway is being shut down"]})
    assert events(received)[-1][0] == "message_stop"
    assert code == 0


async def test_a_second_signal_ends_it_at_once(start: Start, scripted: ScriptedBackend) -> None:
    scripted.answers = [stream(*HELLO, asyncio.Event())]
    async with start(HOST_PORT="0", BACKEND_URL=scripted.url) as process, aiohttp.ClientSession() as session:
        url = await listening_url(process)
        async with session.post(f"{url}/v1/messages", json=ask(stream=True), headers=TOKEN) as response:
            await response.content.readany()
            process.terminate()
            assert process.stderr is not None
            while b"shutting down" not in await process.stderr.readline():
                pass
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 5) == -signal.SIGTERM


async def test_the_file_in_the_folder_is_read(start: Start, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HOST_PORT=0\nBACKEND_URL=http://127.0.0.1:9\n")
    async with start() as process:
        assert (await listening_url(process)).startswith("http://127.0.0.1:")


async def test_ipv6_addresses_are_shown_as_urls_have_them(start: Start) -> None:
    async with start("--host", "::1", "--host-port", "0", "--backend-url", "http://127.0.0.1:9") as process:
        assert re.fullmatch(r"http://\[::1\]:\d+", await listening_url(process))


async def test_the_demo_holds_a_conversation_and_ends(start: Start) -> None:
    async with start("demo", "--once", "--host-port", "0") as process:
        code, out, err = await outcome(process)

    assert (code, err) == (0, "")
    blocks = [line for line in out.splitlines() if line.startswith("▌")]
    assert blocks == ["▌ user", "▌ thinking", "▌ tool_use read_file", "▌ tool_result", "▌ thinking", "▌ text"]
    assert '{"path": "notes/today.txt"}' in out
    assert out.count("The gateway translates both ways, one token at a time.") == 2


async def test_it_is_clean_in_development_mode(start: Start) -> None:
    async with start("demo", "--once", "--host-port", "0", PYTHONDEVMODE="1") as process:
        code, _, err = await outcome(process)

    assert code == 0
    # asyncio's word that a step took long tells of a busy machine only
    assert [line for line in log_lines(err) if not line["event"].startswith("Executing <")] == []


async def test_the_demo_stays_up_for_claude_code(start: Start) -> None:
    async with start("demo", "--host-port", "0", PYTHONUNBUFFERED="1") as process:
        assert process.stdout is not None
        out = ""
        while "Ctrl-C" not in out:
            out += (await process.stdout.readline()).decode()
        client = json.loads(out[out.index("{\n") : out.rindex("}") + 1])
        base = client["env"]["ANTHROPIC_BASE_URL"]
        headers = {"x-api-key": client["env"]["ANTHROPIC_AUTH_TOKEN"]}
        # the conversation's, and those of side tasks and sub-agents
        models = [client["model"], *(value for name, value in client["env"].items() if name.endswith("_MODEL"))]
        async with aiohttp.ClientSession(base, headers=headers) as session:
            for model in models:
                async with session.post("/v1/messages", json=ask(model=model)) as response:
                    assert response.status == 200
        process.terminate()
        code, _, err = await outcome(process)

    assert code == 0
    assert len(models) == 6
    assert [line["path"] for line in log_lines(err) if line["event"] == "request"] == ["/v1/messages"] * 6
