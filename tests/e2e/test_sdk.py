"""The official Python SDK against the gateway, in front of the embedded backend."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock

from tests.conftest import ScriptedBackend, StartGateway, chunk, stream

TOOL: Any = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
MODEL = "demo"


@pytest.fixture
async def base_url(embedded: str, start_gateway: StartGateway) -> str:
    return str((await start_gateway(embedded)).make_url("/"))


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=base_url, auth_token="cpk_test", max_retries=0) as client:
        yield client


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_it_creates(client: anthropic.AsyncAnthropic) -> None:
    message = await client.messages.create(model=MODEL, max_tokens=500, messages=user("[[say]]Hello, SDK[[/say]]"))

    assert message.content == [TextBlock(type="text", text="Hello, SDK")]
    assert (message.role, message.stop_reason, message.model) == ("assistant", "end_turn", MODEL)
    assert message.usage.output_tokens > 0


async def test_it_streams_thinking_and_text(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(
        model=MODEL, max_tokens=500, thinking={"type": "adaptive"}, messages=user("Tell me something")
    ) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()

    thinking, answer = message.content
    assert isinstance(thinking, ThinkingBlock)
    assert thinking.thinking
    assert thinking.signature
    assert isinstance(answer, TextBlock)
    assert answer.text == text
    assert message.usage.input_tokens > 0


async def test_it_runs_a_tool_loop(client: anthropic.AsyncAnthropic) -> None:
    messages = user('Use get_weather for "Ulm", then answer.')

    async with client.messages.stream(
        model=MODEL, max_tokens=500, thinking={"type": "adaptive"}, tools=[TOOL], messages=messages
    ) as stream:
        asked = await stream.get_final_message()
    call = asked.content[-1]
    assert isinstance(call, ToolUseBlock)
    assert (call.name, call.input, asked.stop_reason) == ("get_weather", {"city": "Ulm"}, "tool_use")

    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain, 7 degrees"}
    messages += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
    answered = await client.messages.create(model=MODEL, max_tokens=500, tools=[TOOL], messages=messages)

    assert isinstance(answered.content[-1], TextBlock)
    assert "Rain, 7 degrees" in answered.content[-1].text
    assert answered.stop_reason == "end_turn"


async def test_stop_sequences_and_limits_are_told(client: anthropic.AsyncAnthropic) -> None:
    say = "[[say]]one two three four five[[/say]]"

    stopped = await client.messages.create(model=MODEL, max_tokens=500, stop_sequences=[" three"], messages=user(say))
    cut = await client.messages.create(model=MODEL, max_tokens=2, messages=user(say))

    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " three")
    assert stopped.content == [TextBlock(type="text", text="one two")]
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)


async def test_it_counts(client: anthropic.AsyncAnthropic) -> None:
    few = await client.messages.count_tokens(model=MODEL, messages=user("Hi"))
    more = await client.messages.count_tokens(model=MODEL, messages=user("Hi"), tools=[TOOL], system="Be brief")

    assert 0 < few.input_tokens < more.input_tokens


async def test_it_lists_and_gets_models(client: anthropic.AsyncAnthropic) -> None:
    ids = [model.id async for model in client.models.list(limit=1)]
    one = await client.models.retrieve("ZAI-org/glm-4.5-air")

    assert ids == ["demo", "zai-org/GLM-4.5-Air", "claude-demo", "claude-zai-org/GLM-4.5-Air"]
    assert (one.id, one.type, one.max_input_tokens) == ("zai-org/GLM-4.5-Air", "model", 131072)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (413, anthropic.RequestTooLargeError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (503, anthropic.OverloadedError),
        (529, anthropic.OverloadedError),
    ],
)
async def test_a_backends_status_raises_the_sdks_own_error(
    status: int, error: type[anthropic.APIStatusError], client: anthropic.AsyncAnthropic
) -> None:
    with pytest.raises(error) as raised:
        await client.messages.create(model=MODEL, max_tokens=10, messages=user(f"[[status {status}]]"))

    assert raised.value.request_id
    assert raised.value.request_id.startswith("req_")


async def test_an_error_in_mid_stream_raises(client: anthropic.AsyncAnthropic) -> None:
    seen = ""

    async def read() -> None:
        nonlocal seen
        async with client.messages.stream(
            model=MODEL, max_tokens=500, messages=user("[[error]] Tell me something")
        ) as stream:
            async for text in stream.text_stream:
                seen += text

    with pytest.raises(anthropic.APIStatusError) as raised:
        await read()
    assert seen
    assert raised.value.type == "api_error"


async def test_the_synchronous_client_works_too(base_url: str) -> None:
    import asyncio

    def create() -> str:
        with anthropic.Anthropic(base_url=base_url, api_key="cpk_test") as client:
            message = client.messages.create(model=MODEL, max_tokens=50, messages=user("[[say]]Hi[[/say]]"))
            return message.content[0].text if isinstance(message.content[0], TextBlock) else ""

    assert await asyncio.to_thread(create) == "Hi"


async def test_what_gemini_signs_goes_round_a_tool_loop(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    signature = {"google": {"thought_signature": "CiQB"}}
    function = {"name": "get_weather", "arguments": '{"city":"Ulm"}'}
    called = {"index": 0, "id": "call_1", "type": "function", "function": function, "extra_content": signature}
    scripted.answers = [
        stream(chunk({"tool_calls": [called]}), chunk({}, "tool_calls"), b"data: [DONE]\n\n"),
        stream(chunk({"content": "Rain."}), chunk({}, "stop"), b"data: [DONE]\n\n"),
    ]
    base_url = str((await start_gateway(scripted.url)).make_url("/"))
    messages = user("Weather?")
    async with anthropic.AsyncAnthropic(base_url=base_url, auth_token="cpk_test", max_retries=0) as client:
        async with client.messages.stream(
            model="Vendor/Model-1", max_tokens=9, tools=[TOOL], messages=messages
        ) as first:
            message = await first.get_final_message()
        messages.append({"role": "assistant", "content": message.content})
        result = {"type": "tool_result", "tool_use_id": message.content[-1].id, "content": "rain"}
        messages.append({"role": "user", "content": [result]})
        async with client.messages.stream(
            model="Vendor/Model-1", max_tokens=9, tools=[TOOL], messages=messages
        ) as second:
            assert await second.get_final_text() == "Rain."

    history = scripted.requests[1].json["messages"]
    assert history[1]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": function, "extra_content": signature}
    ]
