"""The event feed, over real sockets."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp_sse_client.client import EventSource

from gateway import __version__
from tests.conftest import END, HELLO, TOKEN, USAGE, ScriptedBackend, StartGateway, ask, chunk, respond, silence, stream
from tests.observability.status.feed_reader import Reader

TOOL = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": "{"}}


async def test_it_begins_with_all_that_there_is(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.models = json.dumps(
        {
            "data": [
                {"id": "Vendor/Model-1", "max_model_len": 131072},
                {
                    "id": "thinker",
                    "context_length": 200000,
                    "supported_parameters": ["tools", "reasoning"],
                    "architecture": {"input_modalities": ["text", "image"]},
                    "top_provider": {"max_completion_tokens": 8192},
                },
            ]
        }
    ).encode()
    gateway = await start_gateway(scripted.url, enable_circuit_breaker="true")
    await gateway.get("/v1/models", headers=TOKEN)

    async with gateway.get("/events") as response:
        name, data = await Reader(response).next()

    assert name == "snapshot"
    started_at = data["gateway"].pop("started_at")
    assert started_at > 1.7e9
    assert data == {
        "reset": "start",
        "gateway": {"version": __version__, "workers": 1, "workers_seen": 1, "keys": False, "stopping": False},
        "backend": {"url": f"{scripted.url}/v1/chat/completions", "reached": True, "models": 2},
        "breaker": {"state": "closed", "failures": 0, "opened": 0},
        "in_flight": 0,
        "requests": [],
        "finished": [],
        "failures": [],
        "totals": {
            "requests": 0, "ok": 0, "failed": 0, "client_gone": 0,
            "input_tokens": 0, "cached_tokens": 0, "output_tokens": 0,
        },
        "rates": [0.0],
        "models": [
            {"id": "Vendor/Model-1", "context_window": 131072},
            {"id": "thinker", "context_window": 200000, "max_tokens": 8192, "images": True, "thinking": "offered"},
        ],
    }  # fmt: skip


async def test_a_request_is_followed_from_its_start_to_its_end(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    steps = [asyncio.Event() for _ in range(4)]
    scripted.answers = [
        stream(
            steps[0], chunk({"reasoning_content": "so"}), steps[1], chunk({"content": "then"}), steps[2],
            chunk({"tool_calls": [TOOL]}), steps[3],
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}), chunk({}, "tool_calls"),
            chunk(None, usage=USAGE), b"data: [DONE]\n\n",
        )
    ]  # fmt: skip
    gateway = await start_gateway(scripted.url, gateway_api_keys="sk-0123456789abcdef name=alice")
    headers = {"Authorization": "Bearer sk-0123456789abcdef"}
    async with gateway.get("/events") as response:
        reader = Reader(response)
        await reader.next()
        tools = [{"name": "look", "input_schema": {"type": "object"}}]
        body = ask(stream=True, thinking={"type": "adaptive"}, tools=tools)
        asking = asyncio.create_task(gateway.post("/v1/messages", json=body, headers=headers))
        states = []
        for step, name in zip(steps, [None, "thinking", "writing", "calling a tool"], strict=True):
            await reader.until("in_flight", equals=1)
            states.append((await reader.until("requests", 0, "state", equals=name))["requests"][0])
            step.set()
        answer = await asking
        await answer.read()
        state = await reader.until("totals", "requests", equals=1)

    waiting, thinking, *_ = states
    assert waiting["model"] == "Vendor/Model-1"
    assert waiting["client"] == "alice"
    assert "bytes" not in waiting
    assert waiting["age_seconds"] < thinking["age_seconds"]
    assert thinking["first_event_ms"] > 0
    assert thinking["tokens"] > 0
    assert state["requests"] == []
    [finished] = state["finished"]
    assert finished["id"] == answer.headers["request-id"] == waiting["id"]
    assert (finished["outcome"], finished["status"], finished["stop_reason"]) == ("ok", 200, "tool_use")
    assert (finished["input_tokens"], finished["cached_tokens"], finished["output_tokens"]) == (20, 10, 4)
    assert finished["tokens_per_second"] > 0
    assert finished["duration_ms"] > finished["first_event_ms"] > 0
    assert state["totals"] == {
        "requests": 1, "ok": 1, "failed": 0, "client_gone": 0,
        "input_tokens": 20, "cached_tokens": 10, "output_tokens": 4,
    }  # fmt: skip
    assert [model.get("thinking") for model in state["models"]] == ["seen"]
    assert max(state["rates"]) > 0


async def test_the_bytes_of_a_token_are_learnt_from_answers_that_ended(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    # ten tokens in a chunk, which nothing on the wire reveals
    chunks = [chunk({"content": "ten tokens"})] * 40
    usage = {"prompt_tokens": 30, "completion_tokens": 400}
    rest = asyncio.Event()
    scripted.answers = [
        stream(*chunks, chunk({}, "stop"), chunk(None, usage=usage)),
        stream(*chunks, rest, chunk({}, "stop"), chunk(None, usage=usage)),
    ]
    gateway = await start_gateway(scripted.url)
    await (await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)).read()
    async with gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as answer:
        received = b""
        while received.count(b"ten tokens") < 40:
            received += await answer.content.readany()
        async with gateway.get("/events") as response:
            _, state = await Reader(response).next()
        rest.set()
        await answer.read()

    # including the frames; at 125 bytes a token, it would be a tenth
    assert 360 <= state["requests"][0]["tokens"] <= 480


async def test_an_answer_that_is_not_streamed_is_followed_too(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    rest = asyncio.Event()
    scripted.answers = [silence(rest)]
    gateway = await start_gateway(scripted.url, backend_retries="0")
    async with gateway.get("/events") as response:
        reader = Reader(response)
        asking = asyncio.create_task(gateway.post("/v1/messages", json=ask(), headers=TOKEN))
        await scripted.asked.wait()
        state = await reader.until("requests", 0, "stream", equals=False)
        rest.set()
        await asking
        after = await reader.until("totals", "failed", equals=1)

    assert "state" not in state["requests"][0]
    assert after["finished"][0]["outcome"] == "backend_fault"


FAULTS: list[tuple[Any, dict[str, Any], int, str, str, str]] = [
    (respond(b"{}", status=401), {}, 401, "backend_fault", "authentication_error from the backend", "BACKEND_API_KEY"),
    (respond(b"{}", status=418), {}, 400, "backend_fault", "invalid_request_error from the backend", "BACKEND_PROFILE"),
    (respond(b"{}", status=599), {}, 599, "backend_fault", "api_error from the backend", "its own log"),
    (None, {"model": "gpt-4o"}, 404, "refused", "model: 'gpt-4o' is not served by this backend.", "MODEL_MAP"),
    (None, {"messages": 1}, 400, "refused", "messages: ", "names the field"),
]


@pytest.mark.parametrize(("answer", "fields", "status", "outcome", "text", "advice"), FAULTS)
async def test_an_error_is_told_with_what_to_do(
    answer: Any,
    fields: dict[str, Any],
    status: int,
    outcome: str,
    text: str,
    advice: str,
    scripted: ScriptedBackend,
    start_gateway: StartGateway,
) -> None:
    scripted.answers = [answer, answer]
    gateway = await start_gateway(scripted.url, backend_retries="0")
    await gateway.get("/v1/models", headers=TOKEN)

    for _ in range(2):
        await gateway.post("/v1/messages", json=ask() | fields, headers=TOKEN)
    async with gateway.get("/events") as response:
        _, state = await Reader(response).next()

    [failure] = state["failures"]
    assert (failure["status"], failure["outcome"], failure["count"]) == (status, outcome, 2)
    assert failure["text"].startswith(text)
    assert advice in failure["advice"]


async def test_a_wrong_path_and_a_missing_key_are_errors_but_no_requests_for_messages(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, gateway_api_keys="sk-0123456789abcdef")

    await gateway.get("/v1/models", headers=TOKEN)
    await gateway.get("/nothing")
    async with gateway.get("/events") as response:
        _, state = await Reader(response).next()

    assert state["finished"] == []
    assert state["gateway"]["keys"] is True
    assert [(failure["status"], failure["outcome"]) for failure in state["failures"]] == [(401, "refused")]
    assert "ANTHROPIC_AUTH_TOKEN" in state["failures"][0]["advice"]


async def test_a_client_that_leaves_is_no_error(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.answers = [stream(*HELLO, asyncio.Event())]
    gateway = await start_gateway(scripted.url)
    async with gateway.get("/events") as response:
        reader = Reader(response)
        async with gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as leaving:
            await leaving.content.readany()
            leaving.close()
        state = await reader.until("totals", "client_gone", equals=1)

    assert state["finished"][0]["outcome"] == "client_gone"
    assert "status" not in state["finished"][0]
    assert state["failures"] == []


async def test_what_a_terminal_would_obey_is_not_told(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)
    await gateway.get("/v1/models", headers=TOKEN)

    await gateway.post("/v1/messages", json=ask(model="\x1b[2Jm" + "x" * 200), headers=TOKEN)
    async with gateway.get("/events") as response:
        _, state = await Reader(response).next()

    assert state["finished"][0]["model"] == "�[2Jm" + "x" * 115


async def test_only_what_changed_is_told_and_can_be_had_again(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, *END), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)
    async with gateway.get("/events") as response:
        reader = Reader(response)
        await reader.until("backend", "models", equals=1)
        first_id = reader.last_id
        await (await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)).read()
        name, change = await reader.next()
        while "finished" not in change:
            name, change = await reader.next()

    assert name == "change"
    assert {"models", "gateway", "breaker", "backend"}.isdisjoint(change)
    async with gateway.get("/events", headers={"Last-Event-ID": first_id}) as response:
        again = Reader(response)
        name, _ = await again.next()
        await again.until("totals", "requests", equals=1)
    assert name == "change"
    assert again.state["finished"] == reader.state["finished"]

    async with gateway.get("/events", headers={"Last-Event-ID": reader.last_id}) as response:
        await (await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)).read()
        assert (await Reader(response).next())[0] == "change"


@pytest.mark.parametrize("last_id", ["0123abcd-7", "nonsense", "-", "{own}-999999", "{own}-" + "9" * 5000])
async def test_a_gap_is_told(last_id: str, scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)
    async with gateway.get("/events") as response:
        reader = Reader(response)
        await reader.next()
    own = reader.last_id.partition("-")[0]

    async with gateway.get("/events", headers={"Last-Event-ID": last_id.replace("{own}", own)}) as response:
        name, data = await Reader(response).next()

    assert (name, data["reset"]) == ("snapshot", "gap")


async def test_aiohttp_sse_client_reads_it(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)
    async with EventSource(str(gateway.make_url("/events"))) as source:
        first = await anext(source)
        await (await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)).read()
        second = await anext(source)

    assert (first.type, second.type) == ("snapshot", "change")
    assert first.last_event_id != second.last_event_id
    assert json.loads(first.data)["reset"] == "start"


async def test_it_ends_with_the_gateway_and_shows_how_that_ends(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, shutdown_grace_secs="0")
    async with gateway.get("/events") as response:
        await Reader(response).next()
        await gateway.server.close()
        rest = await response.content.read()

    assert rest == b"" or rest.endswith(b"\n\n")


async def test_a_head_would_have_no_end(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)

    assert (await gateway.head("/events")).status == 405


async def test_nobody_waits_for_more_readers_than_there_may_be(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)
    readers = [await gateway.get("/events") for _ in range(32)]

    refused = await gateway.get("/events")

    assert refused.status == 529
    assert "32 readers" in (await refused.json())["error"]["message"]
    readers[0].close()
    async with asyncio.timeout(5):
        while (again := await gateway.get("/events")).status != 200:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
    for response in (*readers, again):
        response.close()
