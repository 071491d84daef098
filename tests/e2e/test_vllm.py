"""Answers of a real vLLM server, through its own parsers for thinking and tool calls.

The model's weights are random, and a plug-in makes it say what stands in its prompt between [[SAY]] and [[/SAY]]. So a
text that comes back shows as well that it got into the prompt.
"""

import asyncio
import base64
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from aiohttp import ClientSession

from gateway.translate.both_ways.signed_reasoning import SIGNATURE
from tests.command_blocks import blocks_of
from tests.conftest import StartGateway
from tests.e2e.conftest import server_process

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

MODEL = "tiny"
WINDOW = 2048
# what the tests must have of their own: a tiny model, its port, a small window
OWN = r"^vllm serve \S+|--host \S+|--port \d+|--max-model-len \d+"
THINK: Any = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the weather for a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
}
TIME: Any = {
    "name": "get_time",
    "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
}
PING: Any = {"name": "ping", "input_schema": {"type": "object", "properties": {}}}
TOOLS: Any = {"tools": [WEATHER, TIME, PING]}
FORCED: Any = {"tool_choice": {"type": "tool", "name": "get_weather"}}
CALL_PARIS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
CALL_CET = '<tool_call>\n{"name": "get_time", "arguments": {"zone": "CET"}}\n</tool_call>'
CALL_PING = '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>'
CALL_UNICODE = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "東京 \\u00fc 👩‍💻 \\"Ø\\""}}\n</tool_call>'
PARIS = ("tool_use", "get_weather", {"city": "Paris"})
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108020000"
        "00907753de0000000c4944415478da63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
NO_IMAGE = "[image left out: this model does not take images]"


@pytest.fixture(scope="module")
def vllm(cache: Path) -> Iterator[str]:
    """The URL of a vLLM server, one for all tests here, with the recipe's flags."""
    (recipe,) = blocks_of("vllm")
    flags = re.sub(OWN, "", recipe.text.replace("\\\n", ""))
    parsers = {"TOOL_PARSER": "", "REASONING_PARSER": "", "VLLM_ARGS": " ".join(flags.split())}
    with server_process("start_vllm_backend.sh", cache / "vllm", CTX=str(WINDOW), ALIAS=MODEL, **parsers) as url:
        yield url


@pytest.fixture
async def client(vllm: str, start_gateway: StartGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    gateway = await start_gateway(vllm)
    async with anthropic.AsyncAnthropic(base_url=str(gateway.make_url("/")), api_key="any", max_retries=0) as client:
        yield client


def say(text: str, **fields: Any) -> Any:
    """A request for an answer with just this text."""
    return {
        "model": MODEL,
        "max_tokens": 300,
        "messages": [{"role": "user", "content": f"[[SAY]]{text}[[/SAY]]"}],
    } | fields


def talk(*messages: Any, **fields: Any) -> Any:
    """A request with this conversation, the user first."""
    roles = [("user", "assistant")[number % 2] for number in range(len(messages))]
    turns = [
        message if isinstance(message, dict) else {"role": role, "content": message}
        for role, message in zip(roles, messages, strict=True)
    ]
    return {"model": MODEL, "max_tokens": 300, "messages": turns} | fields


def shape(message: Any) -> list[tuple[Any, ...]]:
    """A message's blocks without ids."""
    shapes: dict[str, Any] = {
        "text": lambda block: (block.text,),
        "thinking": lambda block: (block.thinking, block.signature),
        "tool_use": lambda block: (block.name, block.input),
    }
    return [(block.type, *shapes[block.type](block)) for block in message.content]


async def streamed(client: anthropic.AsyncAnthropic, request: Any) -> Any:
    """The message that a streamed answer adds up to."""
    async with client.messages.stream(**request) as stream:
        return await stream.get_final_message()


async def metric(vllm: str, name: str, **labels: str) -> float:
    """The sum of a counter's or gauge's values, over all that have these labels."""
    async with ClientSession() as session, session.get(f"{vllm}/metrics") as response:
        lines = (await response.text()).splitlines()
    marks = [f'{label}="{value}"' for label, value in labels.items()]
    found = [line for line in lines if re.match(rf"{name}[{{ ]", line) and all(mark in line for mark in marks)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.mark.parametrize(
    ("request_", "blocks", "stop"),
    [
        pytest.param(say("The sea is wide."), [("text", "The sea is wide.")], ("end_turn", None), id="text"),
        pytest.param(say("😀 café 中文 👩‍💻 end"), [("text", "😀 café 中文 👩‍💻 end")], ("end_turn", None), id="unicode text"),
        pytest.param(
            say("<think>One line will do.</think>\n\nThe sea is wide.", **THINK),
            # text goes through as it came, with the line ends around it
            [("thinking", "One line will do.", SIGNATURE), ("text", "\n\nThe sea is wide.")],
            ("end_turn", None),
            id="thinking, text",
        ),
        pytest.param(say(CALL_PARIS, **TOOLS), [PARIS], ("tool_use", None), id="a call"),
        pytest.param(
            say(f"Let me see.\n{CALL_PARIS}", **TOOLS),
            [("text", "Let me see.\n"), PARIS],
            ("tool_use", None),
            id="text, a call",
        ),
        pytest.param(
            say(f"{CALL_PARIS}\n{CALL_CET}", **TOOLS),
            [PARIS, ("tool_use", "get_time", {"zone": "CET"})],
            ("tool_use", None),
            id="two parallel calls",
        ),
        pytest.param(
            say(f"<think>I should call it.</think>\n{CALL_PARIS}", **TOOLS, **THINK),
            [("thinking", "I should call it.", SIGNATURE), PARIS],
            ("tool_use", None),
            id="thinking, a call",
        ),
        pytest.param(
            say(CALL_PING, **TOOLS), [("tool_use", "ping", {})], ("tool_use", None), id="a call without arguments"
        ),
        pytest.param(
            say(CALL_UNICODE, **TOOLS),
            [("tool_use", "get_weather", {"city": '東京 ü 👩‍💻 "Ø"'})],
            ("tool_use", None),
            id="unicode in arguments",
        ),
        # vLLM says finish_reason "stop" to a named choice
        pytest.param(say(CALL_PARIS, **TOOLS, **FORCED), [PARIS], ("tool_use", None), id="a forced call"),
        pytest.param(
            say("One two STOP three", stop_sequences=["never", "STOP"]),
            [("text", "One two ")],
            ("stop_sequence", "STOP"),
            id="a stop string",
        ),
        pytest.param(
            say("One two STOP three", stop_sequences=["a b", "c d", "e f", "STOP"]),
            [("text", "One two ")],
            ("stop_sequence", "STOP"),
            id="a stop string of four",
        ),
        pytest.param(
            say("no way", output_config={"format": {"type": "json_schema", "schema": {"enum": ["yes"]}}}),
            [("text", '"yes"')],
            ("end_turn", None),
            id="a JSON schema, against its will",
        ),
    ],
)  # fmt: skip
async def test_an_answer_streamed_and_whole(
    request_: Any, blocks: list[tuple[Any, ...]], stop: tuple[str, str | None], client: anthropic.AsyncAnthropic
) -> None:
    messages = [await streamed(client, request_), await client.messages.create(**request_)]

    assert [shape(message) for message in messages] == [blocks, blocks]
    assert [(message.stop_reason, message.stop_sequence) for message in messages] == [stop, stop]
    assert [message.model for message in messages] == [MODEL, MODEL]
    assert all(message.usage.output_tokens > 0 for message in messages)
    ids = [block.id for message in messages for block in message.content if block.type == "tool_use"]
    assert len(set(ids)) == len(ids)


async def test_more_stop_strings_than_it_takes_are_refused(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="stop_sequences: this backend accepts at most 4, not 5"):
        await client.messages.create(**say("One two", stop_sequences=["a", "b", "c", "d", "e"]))


async def test_an_answer_that_is_cut(client: anthropic.AsyncAnthropic) -> None:
    request = say("One two three four five six seven", max_tokens=5)

    messages = [await streamed(client, request), await client.messages.create(**request)]

    assert shape(messages[0]) == shape(messages[1])
    [(_, text)] = shape(messages[0])
    assert "One two three four five six seven".startswith(text)
    assert [message.stop_reason for message in messages] == ["max_tokens", "max_tokens"]
    assert [message.usage.output_tokens for message in messages] == [5, 5]


async def test_thinking_that_is_cut(client: anthropic.AsyncAnthropic) -> None:
    request = say("<think>One two three four five six seven", max_tokens=6, **THINK)

    messages = [await streamed(client, request), await client.messages.create(**request)]

    assert shape(messages[0]) == shape(messages[1])
    [(kind, text, signature)] = shape(messages[0])
    assert (kind, signature) == ("thinking", SIGNATURE)
    assert text
    assert "One two three four five six seven".startswith(text)
    assert [message.stop_reason for message in messages] == ["max_tokens", "max_tokens"]


async def test_a_call_that_is_cut(client: anthropic.AsyncAnthropic) -> None:
    """Streamed, the call comes as far as it went; whole, vLLM gives its markup as text. Both say why."""
    long_name = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch"
    request = say(CALL_PARIS.replace("Paris", long_name), **TOOLS, max_tokens=28)

    stream, whole = await streamed(client, request), await client.messages.create(**request)

    [(kind, name, _)] = shape(stream)
    assert (kind, name, stream.stop_reason) == ("tool_use", "get_weather", "max_tokens")
    [(kind, text)] = shape(whole)
    assert (kind, whole.stop_reason) == ("text", "max_tokens")
    assert text.startswith('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Ll')


USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1"}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(
            talk("Weather?", [USE], [{**RESULT, "content": "[[SAY]]heard[[/SAY]]"}], **TOOLS), id="a tool's result"
        ),
        pytest.param(
            talk(
                "Weather?",
                [{"type": "thinking", "thinking": "[[SAY]]heard[[/SAY]]", "signature": SIGNATURE}, USE],
                [{**RESULT, "content": "Rain"}],
                **TOOLS,
            ),
            id="replayed thinking",
        ),
        pytest.param(
            talk("Hello", "Hello!", {"role": "system", "content": "[[SAY]]heard[[/SAY]]"}, "Yes?", "Go on"),
            id="a system message in the middle",
        ),
        pytest.param(
            talk("Hello", system=[{"type": "text", "text": "[[SAY]]heard[[/SAY]]"}]), id="the system prompt in blocks"
        ),
        pytest.param(talk([{"type": "text", "text": "[[SAY]]heard[[/SAY]]"}], "Yes?", "Go on"), id="an earlier turn"),
        pytest.param(talk("Hello", tools=[{**PING, "description": "[[SAY]]heard[[/SAY]]"}]), id="a tool's description"),
    ],
)
async def test_what_is_in_the_conversation_reaches_the_model(request_: Any, client: anthropic.AsyncAnthropic) -> None:
    assert shape(await streamed(client, request_)) == [("text", "heard")]


async def test_a_loop_of_thinking_and_tools_can_go_on(client: anthropic.AsyncAnthropic) -> None:
    first = say(f"<think>Call both.</think>\n{CALL_PARIS}\n{CALL_CET}", **TOOLS, **THINK)
    asked = await streamed(client, first)
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "Rain"}
        for block in asked.content
        if block.type == "tool_use"
    ]
    more = {"type": "text", "text": "[[SAY]]<think>Rain.</think>Take a coat.[[/SAY]]"}
    history = [
        *first["messages"],
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]},
        {"role": "user", "content": [*results, more]},
    ]

    answered = await streamed(client, first | {"messages": history})

    assert len(results) == 2
    assert shape(answered) == [("thinking", "Rain.", SIGNATURE), ("text", "Take a coat.")]


@pytest.mark.parametrize("answer", [streamed, lambda client, request: client.messages.create(**request)])
async def test_a_prompt_over_the_window_is_worded_for_compaction(answer: Any, client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as error:
        await answer(client, talk("word " * 3000))

    assert re.search(rf"prompt is too long: (\d+) tokens > {WINDOW} maximum", str(error.value))
    assert error.value.type == "invalid_request_error"


async def test_a_limit_over_the_window_is_lowered(client: anthropic.AsyncAnthropic) -> None:
    message = await client.messages.create(**say("Fine", max_tokens=128_000, timeout=60))

    assert shape(message) == [("text", "Fine")]


async def test_a_text_model_gets_a_note_for_an_image_and_is_asked_once_from_then_on(
    vllm: str, client: anthropic.AsyncAnthropic
) -> None:
    around = [{"type": "text", "text": "[[SAY]]"}, IMAGE, {"type": "text", "text": "[[/SAY]]"}]
    counter = {"name": "http_requests_total", "handler": "/v1/chat/completions", "status": "4xx"}
    refused = await metric(vllm, **counter)

    answers = [await streamed(client, talk(around)) for _ in range(2)]

    assert [answer.content[0].text.strip() for answer in answers] == [NO_IMAGE, NO_IMAGE]
    assert await metric(vllm, **counter) == refused + 1


async def test_an_unknown_model_is_told_with_the_ones_that_exist(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as error:
        await client.messages.create(**say("Hi", model="tinny"))

    assert error.value.type == "not_found_error"
    assert "'tinny' is not served by this backend. Did you mean tiny? Available: tiny." in str(error.value)


async def test_models_tell_their_window(client: anthropic.AsyncAnthropic) -> None:
    models = (await client.models.list()).data

    assert [(model.id, model.max_input_tokens) for model in models] == [("tiny", WINDOW), ("claude-tiny", WINDOW)]


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic) -> None:
    few = await client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    more = await client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hi"}], **TOOLS)

    assert 0 < few.input_tokens < more.input_tokens


async def test_cached_tokens_are_told_apart(vllm: str, client: anthropic.AsyncAnthropic) -> None:
    # a beginning that no other prompt has, even in a server that ran before
    unique = secrets.token_hex(32)
    request = talk(f"{unique} " + "The sea is wide and the ship is small. " * 40 + "[[SAY]]Yes[[/SAY]]")

    first, again, whole = (
        await streamed(client, request),
        await streamed(client, request),
        await client.messages.create(**request),
    )

    sizes = []
    for message in (first, again, whole):
        usage = message.usage
        parts = (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
        sizes.append(sum(part or 0 for part in parts))
    assert sizes == [sizes[0]] * 3
    assert sizes[0] > 400
    assert (first.usage.cache_read_input_tokens or 0) < 128
    assert all((message.usage.cache_read_input_tokens or 0) > 128 for message in (again, whole))


async def test_clients_that_leave_free_the_server(vllm: str, client: anthropic.AsyncAnthropic) -> None:
    request = say("more and " * 300, max_tokens=1500)
    answered = await metric(vllm, "vllm:request_success_total")
    # as many as it answers at a time
    for _ in range(4):
        async with client.messages.stream(**request) as stream:
            await anext(stream.text_stream)

    async with asyncio.timeout(60):
        while await metric(vllm, "vllm:num_requests_running"):
            pass
    # they did not just run to their end
    assert await metric(vllm, "vllm:request_success_total") == answered
    assert shape(await streamed(client, say("Served"))) == [("text", "Served")]
