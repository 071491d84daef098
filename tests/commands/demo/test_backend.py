"""The embedded backend over a real socket."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.commands.demo.backend import SLEEP, make_backend
from gateway.commands.demo.script import answer, tokens

if TYPE_CHECKING:
    from aiohttp.test_utils import TestClient
    from aiohttp.web_runner import BaseRunner
    from pytest_aiohttp.plugin import AiohttpClient

    Client = TestClient[web.Request, web.Application]

PATH = "/v1/chat/completions"
READ = {
    "type": "function",
    "function": {
        "name": "Read",
        "parameters": {
            "type": "object",
            "properties": {"file_path": {"type": "string"}},
            "required": ["file_path"],
        },
    },
}


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(make_backend(tokens_per_second=0))


def body(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": prompt}], **fields}


def events(raw: bytes) -> list[Any]:
    """The events of a stream; `[DONE]` stays a string."""
    frames = raw.split(b"\n\n")
    assert frames.pop() == b""
    assert all(frame.startswith(b"data: ") for frame in frames)
    datas = [frame.removeprefix(b"data: ").decode() for frame in frames]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


async def stream(client: Client, prompt: str, **fields: Any) -> list[Any]:
    async with client.post(PATH, json=body(prompt, stream=True, **fields)) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        return events(await response.read())


async def whole(client: Client, prompt: str, **fields: Any) -> Any:
    async with client.post(PATH, json=body(prompt, **fields)) as response:
        assert response.status == 200
        return await response.json()


def joined(chunks: list[Any], field: str) -> str:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get(field) or "" for delta in deltas)


def test_events_rejects_a_frame_without_its_end() -> None:
    with pytest.raises(AssertionError):
        events(b"data: {}")


async def test_health_is_ok(client: Client) -> None:
    async with client.get("/health") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})


async def test_models_have_openai_shape(client: Client) -> None:
    async with client.get("/v1/models", headers={"Authorization": "Bearer anything"}) as response:
        listed = await response.json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["demo", "zai-org/GLM-4.5-Air"]
    for model in listed["data"]:
        assert (model["object"], model["owned_by"]) == ("model", "claude-gateway")
        assert (type(model["created"]), model["max_model_len"]) == (int, 131072)


async def test_a_stream_has_role_thinking_text_finish_and_done(client: Client) -> None:
    *chunks, done = await stream(client, "Hello é")
    said = answer(body("Hello é"))
    assert done == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    kinds = [next(iter(chunk["choices"][0]["delta"]), "end") for chunk in chunks[1:]]
    thinking, text = len(tokens(said.thinking)), len(tokens(said.text))
    assert kinds == ["reasoning_content"] * thinking + ["content"] * text + ["end"]
    assert joined(chunks, "reasoning_content") == said.thinking
    assert joined(chunks, "content") == said.text
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == [None, "stop"]
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_comes_last_and_only_when_asked_for(client: Client) -> None:
    *chunks, last, done = await stream(client, "Hello", stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert last["choices"] == []
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["usage"] == (await whole(client, "Hello"))["usage"]


async def test_usage_adds_up(client: Client) -> None:
    said, usage = answer(body("Hello")), (await whole(client, "Hello"))["usage"]
    reasoning = len(tokens(said.thinking))
    assert usage == {
        "prompt_tokens": 1,
        "completion_tokens": reasoning + len(tokens(said.text)),
        "total_tokens": 1 + reasoning + len(tokens(said.text)),
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


async def test_without_thinking_no_reasoning_is_sent(client: Client) -> None:
    *chunks, _ = await stream(client, "Hello", reasoning_effort="none")
    assert not any("reasoning_content" in chunk["choices"][0]["delta"] for chunk in chunks)
    message = (await whole(client, "Hello", reasoning_effort="none"))["choices"][0]["message"]
    assert set(message) == {"role", "content"}


async def test_a_whole_answer_equals_the_streamed_one(client: Client) -> None:
    *chunks, _ = await stream(client, "Hello")
    completion = await whole(client, "Hello")
    (choice,) = completion["choices"]
    assert completion["object"] == "chat.completion"
    assert choice["message"] == {
        "role": "assistant",
        "content": joined(chunks, "content"),
        "reasoning_content": joined(chunks, "reasoning_content"),
    }
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", None)


async def test_tool_calls_stream_in_fragments(client: Client) -> None:
    *chunks, _ = await stream(client, "Use Read on /srv/x/secret.txt", tools=[READ])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    first, *rest = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert first["id"].startswith("call_")
    assert (first["index"], first["type"]) == (0, "function")
    assert first["function"] == {"name": "Read", "arguments": ""}
    assert len(rest) > 3
    assert all(set(part) == {"index", "function"} and part["index"] == 0 for part in rest)
    arguments = "".join(part["function"]["arguments"] for part in rest)
    assert json.loads(arguments) == {"file_path": "/srv/x/secret.txt"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_whole_tool_call_has_no_content(client: Client) -> None:
    (choice,) = (await whole(client, "Use Read on /srv/a", tools=[READ]))["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["message"]["content"] is None
    assert call["function"] == {"name": "Read", "arguments": '{"file_path": "/srv/a"}'}
    assert (call["type"], choice["finish_reason"]) == ("function", "tool_calls")


async def test_stop_and_length_reach_the_last_chunk(client: Client) -> None:
    *_, last, _ = await stream(client, "[[say]]a STOP b[[/say]]", stop=["STOP"])
    assert (last["choices"][0]["finish_reason"], last["choices"][0]["stop_reason"]) == ("stop", "STOP")
    *_, last, _ = await stream(client, "Hello", max_tokens=2)
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["choices"][0]["stop_reason"] is None


async def test_text_goes_out_as_utf8_even_with_a_lone_surrogate(client: Client) -> None:
    async with client.post(PATH, json=body("[[say]]é \ud800[[/say]]", stream=True)) as response:
        raw = await response.read()
    assert '"é"'.encode() in raw
    assert joined(events(raw)[:-1], "content") == "é ?"


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_unknown_model_is_not_found(client: Client, streamed: bool) -> None:
    async with client.post(PATH, json=body("Hi", stream=streamed) | {"model": "gpt-x"}) as response:
        assert response.status == 404
        assert await response.json() == {
            "error": {
                "message": "The model `gpt-x` does not exist.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
        }


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'"x"',
        b"{}",
        b'{"messages": "x"}',
        b'{"messages": [1]}',
        b'{"messages": []}',
        b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}',
        b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": "9"}',
        b"[" * 100_000,
    ],
)
async def test_a_malformed_request_is_refused(client: Client, raw: bytes) -> None:
    async with client.post(PATH, data=raw) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert (error["type"], error["code"]) == ("BadRequestError", 400)
    assert error["message"]


async def test_a_prompt_of_megabytes_is_taken(client: Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
    request = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, image]}]}
    async with client.post(PATH, data=io.BytesIO(json.dumps(request).encode())) as response:
        assert response.status == 200
        assert (await response.json())["usage"]["prompt_tokens"] == 1


async def test_deep_nesting_never_breaks_the_server(client: Client) -> None:
    # Around the interpreter's own recursion limit, wherever that is.
    for depth in range(880, 1000):
        nested = b'{"a":' * depth + b"1" + b"}" * depth
        raw = b'{"messages": [{"role": "user", "content": "x"}], "tools": [%s]}' % nested
        async with client.post(PATH, data=raw) as response:
            assert response.status in (200, 400)


@pytest.mark.parametrize(
    ("status", "kind", "retry_after"),
    [
        (400, "BadRequestError", None),
        (401, "AuthenticationError", None),
        (418, "BadRequestError", None),
        (429, "RateLimitError", "1"),
        (500, "InternalServerError", None),
        (503, "ServiceUnavailableError", "1"),
    ],
)
async def test_a_status_on_request(client: Client, status: int, kind: str, retry_after: str | None) -> None:
    async with client.post(PATH, json=body(f"[[status {status}]]", stream=True)) as response:
        assert response.status == status
        assert response.headers.get("Retry-After") == retry_after
        error = (await response.json())["error"]
    assert (error["type"], error["code"]) == (kind, status)


async def read_until_cut(response: aiohttp.ClientResponse) -> bytes:
    """All bytes of a body that breaks off; fails if it ends properly."""
    got = bytearray()

    async def read() -> None:
        async for piece in response.content.iter_any():
            got.extend(piece)

    with pytest.raises(aiohttp.ClientPayloadError):
        await read()
    return bytes(got)


async def test_a_cut_stream_breaks_off_in_mid_text(client: Client) -> None:
    async with client.post(PATH, json=body("[[cut]] Hello", stream=True)) as response:
        chunks = events(await read_until_cut(response))
    text = answer(body("[[cut]] Hello")).text
    assert "[DONE]" not in chunks
    assert joined(chunks, "content")
    assert text.startswith(joined(chunks, "content"))
    assert joined(chunks, "content") != text


async def test_a_cut_whole_answer_breaks_off(client: Client) -> None:
    async with client.post(PATH, json=body("[[cut]] Hello")) as response:
        assert response.status == 200
        assert (await read_until_cut(response)).startswith(b'{"id":"chatcmpl-')


async def test_an_error_comes_in_mid_stream_without_done(client: Client) -> None:
    *chunks, last = await stream(client, "[[error]] Hello")
    assert joined(chunks, "content")
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert (last["error"]["type"], last["error"]["code"]) == ("InternalServerError", 500)


async def test_an_error_of_a_whole_answer_is_a_500(client: Client) -> None:
    async with client.post(PATH, json=body("[[error]] Hello")) as response:
        assert response.status == 500


async def test_each_token_waits_for_its_turn(aiohttp_client: AiohttpClient) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    app = make_backend(tokens_per_second=40)
    app[SLEEP] = sleep
    await stream(await aiohttp_client(app), "[[say]]one two three[[/say]]")
    assert waits == [1 / 40] * 3


def watched(app: web.Application) -> asyncio.Event:
    """An event that is set when a request to `app` has been handled."""
    ended = asyncio.Event()

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
            return response
        finally:
            ended.set()

    app.middlewares.append(watch)
    return ended


async def yielding(_seconds: float) -> None:
    await asyncio.sleep(0)


class PlainServer(TestServer):
    """A server as `web.run_app` starts it, where a client's leaving does not cancel the handler."""

    async def _make_runner(self, **options: Any) -> BaseRunner:
        return await super()._make_runner(**options | {"handler_cancellation": False})


@pytest.mark.parametrize("server", [PlainServer, TestServer])
@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        (body(f"[[say]]{'word ' * 200_000}[[/say]]", stream=True), 40),
        (body("[[say]]one two[[/say]]", stream=True), 1e-9),
        (body("[[silent]]", stream=True), 40),
    ],
    ids=["writing", "waiting", "silent"],
)
async def test_a_client_that_leaves_ends_the_answer(
    aiohttp_client: AiohttpClient,
    caplog: pytest.LogCaptureFixture,
    server: type[TestServer],
    fields: dict[str, Any],
    rate: float,
) -> None:
    app = make_backend(tokens_per_second=rate)
    app[SLEEP] = yielding
    ended = watched(app)
    client: TestClient[Any, None] = await aiohttp_client(server(app))
    response = await client.post(PATH, json=fields)
    assert response.status == 200
    assert not ended.is_set()
    response.close()
    async with asyncio.timeout(10):
        await ended.wait()
    async with client.get("/health") as after:
        assert after.status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_silent_whole_answer_sends_nothing(aiohttp_client: AiohttpClient) -> None:
    app = make_backend(tokens_per_second=0)
    app[SLEEP] = yielding
    ended = watched(app)
    client: TestClient[Any, None] = await aiohttp_client(PlainServer(app))
    with pytest.raises(TimeoutError):
        await client.post(PATH, json=body("[[silent]]"), timeout=aiohttp.ClientTimeout(total=0.1))
    async with asyncio.timeout(10):
        await ended.wait()
