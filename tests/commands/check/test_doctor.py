"""A whole check, of working backends and of servers that are not backends."""

import asyncio
import json
import socket
from typing import Any

import pytest
from aiohttp import web

from gateway.commands.setup.client_settings import Choice, edit
from tests.commands.check.conftest import MODEL, Able, Run, echo, error, hang_up
from tests.conftest import END, HELLO, USAGE, ScriptedBackend, respond, stream

ROWS = [
    "reachable", "tls", "key", "models", "whole", "streaming", "speed", "usage", "tools", "results", "forced",
    "parallel", "thinking", "images", "schema", "context", "cache", "counting", "workarounds",
]  # fmt: skip


async def test_a_backend_that_can_do_all_is_good_in_every_row(able: Able, run: Run) -> None:
    checked = await run(able.url)

    assert checked.marks == dict.fromkeys(ROWS, "good")
    assert checked.code == 0
    assert checked.document["ok"] is True
    assert checked.document["profile"] == "auto"
    assert checked.document["requests"] == len(able.bodies)
    assert checked.row("tools")["facts"] == {"pieces": 1, "ids": True}
    assert checked.row("thinking")["facts"] == {"field": "reasoning_content", "switch": "chat_template_kwargs"}


async def test_the_embedded_backend_has_what_claude_code_needs(embedded: str, run: Run) -> None:
    checked = await run(embedded)

    assert checked.code == 0
    assert {key for key, mark in checked.marks.items() if mark != "good"} == {"parallel", "images", "cache"}
    assert checked.document["model"] == "demo"


async def test_claude_codes_settings_follow_from_what_was_found(able: Able, run: Run) -> None:
    checked = await run(able.url, token="cpk_secret_of_mine")

    assert checked.document["settings"] == {"BACKEND_URL": f"{able.url}/v1/chat/completions"}
    assert checked.document["client"] == {
        "model": MODEL,
        "alwaysThinkingEnabled": True,
        "env": {
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080",
            "ANTHROPIC_AUTH_TOKEN": "<your key>",
            "ANTHROPIC_DEFAULT_OPUS_MODEL": MODEL,
            "ANTHROPIC_DEFAULT_SONNET_MODEL": MODEL,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": MODEL,
            "ANTHROPIC_DEFAULT_FABLE_MODEL": MODEL,
            "CLAUDE_CODE_SUBAGENT_MODEL": MODEL,
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "131072",
            "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "131072",
            "API_TIMEOUT_MS": "6000000",
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
            "CLAUDE_CODE_AUTO_MODE_SERVER": "0",
        },
    }


@pytest.mark.parametrize("window", [8_192, 65_536, 131_072, 1_000_000])
async def test_claude_codes_settings_are_those_that_setup_writes(window: int, able: Able, run: Run) -> None:
    able.models["data"][0]["max_model_len"] = window

    told = (await run(able.url, token="cpk_secret_of_mine")).document["client"]

    choice = Choice("http://127.0.0.1:8080", "<your key>", MODEL, context=window)
    assert told == json.loads(edit("", choice)[0])


async def test_a_dead_port_ends_the_check_at_its_first_row(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    checked = await run(f"http://127.0.0.1:{port}")

    assert checked.code == 1
    assert checked.marks == dict.fromkeys(ROWS, "skipped") | {"reachable": "bad"}
    assert checked.row("reachable")["said"] == f"nothing is listening at 127.0.0.1:{port}"
    assert "start the server, or correct the port in BACKEND_URL" in checked.row("reachable")["remedy"]
    assert checked.document["client"] == {}


async def test_a_server_of_web_pages_is_told_from_an_api(able: Able, run: Run) -> None:
    page = "<!doctype html><html><head><title>Welcome to nginx!</title></head></html>"
    able.paths = {"/v1/models": web.Response(text=page, content_type="text/html")}

    checked = await run(able.url)

    assert checked.code == 1
    row = checked.row("reachable")
    assert (row["mark"], row["said"]) == ("bad", "a web page answers, not an API: “Welcome to nginx!”")
    assert "BACKEND_URL must lead to an API" in row["remedy"]


@pytest.mark.parametrize("service", [echo, hang_up])
async def test_what_does_not_speak_http_is_no_backend(service: Any, run: Run) -> None:
    async with await asyncio.start_server(service, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        checked = await run(f"http://127.0.0.1:{port}")

    row = checked.row("reachable")
    assert (checked.code, row["mark"]) == (1, "bad")
    assert row["said"] == f"the service at 127.0.0.1:{port} does not speak HTTP"
    assert "correct the port in BACKEND_URL: another service uses it" in row["remedy"]


async def test_a_wrong_key_is_told_and_not_shown(able: Able, run: Run) -> None:
    able.key = "cpk_right"

    checked = await run(able.url, token="cpk_quite_wrong_0123456789")

    row = checked.row("key")
    assert (checked.code, row["mark"]) == (1, "bad")
    assert row["said"] == "the key is refused (401: Incorrect API key provided: Bearer ….)"
    assert row["remedy"] == "copy the whole key from the backend again, and check that it is for this backend"
    assert "cpk_quite" not in checked.text
    assert "0123456789" not in checked.text


async def test_a_right_key_is_good(able: Able, run: Run) -> None:
    able.key = "cpk_right"

    checked = await run(able.url, token="cpk_right")

    assert (checked.code, checked.row("key")["said"]) == (0, "accepted")


async def test_the_operators_key_is_used_as_the_gateway_does(able: Able, run: Run) -> None:
    able.key = "cpk_operators_own"

    checked = await run(able.url, environment={"BACKEND_API_KEY": "cpk_operators_own"})

    assert checked.code == 0
    assert "cpk_operators" not in checked.text


async def test_a_key_that_is_wanted_and_not_given_is_asked_for(able: Able, run: Run) -> None:
    able.key = "cpk_right"

    checked = await run(able.url)

    assert checked.row("key")["said"] == "one is required (Incorrect API key provided: nothing.)"
    assert checked.row("key")["remedy"] == "give the key with BACKEND_API_KEY, --token-file or --ask-token"


async def test_a_backend_that_hangs_is_left_after_a_while(scripted: ScriptedBackend, run: Run) -> None:
    never = asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        await never.wait()

    scripted.answers = [silent] * 4

    checked = await run(scripted.url, patience=0.1, backend_retries="0")

    assert checked.row("reachable")["mark"] == "good"
    assert checked.row("whole")["mark"] == "bad"
    assert checked.row("whole")["said"].startswith("the backend at ")
    assert checked.row("whole")["said"].endswith(
        "sent no answer within 0.1 s (BACKEND_TIMEOUT_SECS): it may be overloaded; try again, or allow it more time"
    )
    assert checked.row("streaming")["mark"] == "skipped"
    never.set()


async def test_a_stream_that_stays_open_behind_its_end_is_not_waited_for(scripted: ScriptedBackend, run: Run) -> None:
    never = asyncio.Event()
    hello = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": USAGE}
    scripted.answers = [respond(json.dumps(hello).encode()), *[stream(*HELLO, *END, never)] * 20]

    checked = await run(scripted.url, patience=2)

    assert checked.row("streaming")["mark"] == "good"
    assert checked.row("results")["mark"] == "unknown"
    never.set()


async def test_when_the_time_is_over_the_rest_is_not_tried(able: Able, run: Run) -> None:
    able.between = 0.05

    checked = await run(able.url, within=1.0)

    assert checked.code == 1
    assert checked.document["complete"] is True
    assert checked.marks["reachable"] == "good"
    last = checked.row("workarounds")
    assert (last["mark"], last["remedy"]) == ("skipped", "give the check more time with --within SECONDS")


async def test_a_profile_that_fits_better_is_recommended(able: Able, run: Run) -> None:
    def thinks_in_reasoning(body: dict[str, Any]) -> dict[str, Any]:
        said = brain_of(body)
        return {"reasoning": said.pop("reasoning_content"), **said} if "reasoning_content" in said else said

    brain_of, able.brain = able.brain, thinks_in_reasoning

    checked = await run(able.url)

    assert checked.document["profile"] == "vllm"
    assert checked.document["settings"]["BACKEND_PROFILE"] == "vllm"


async def test_a_profile_that_was_chosen_stays(able: Able, run: Run) -> None:
    checked = await run(able.url, backend_profile="sglang")

    assert checked.document["profile"] == "sglang"


async def test_a_secret_is_nowhere_whatever_the_backend_repeats(able: Able, run: Run) -> None:
    token = "cpk_a1b2c3d4e5f6g7h8"

    def repeats(body: dict[str, Any]) -> web.Response | None:
        return error(400, f"you sent {token} and {token[:12]}*** \x1b[31m") if body.get("tools") else None

    able.refuse = repeats
    able.models["data"][0]["id"] = f"model-{token}"

    checked = await run(able.url, token=token)

    assert checked.row("tools")["said"].startswith("backend: you sent … and …*** ")
    assert not any(token[at : at + 8] in checked.text for at in range(len(token) - 7))
    assert "\\u001b" not in json.dumps(checked.document)
