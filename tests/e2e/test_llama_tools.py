"""Tools, thinking, documents and images against a real llama.cpp server with Gemma 3 270M.

The model is a base model that copies: it calls a tool after some turns that only call it, and goes on with a pattern.
"""

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anthropic
import pytest
from aiohttp import ClientSession

from tests.conftest import StartGateway

pytestmark = [pytest.mark.llama, pytest.mark.timeout(900)]

MODEL = "gemma-3-270m"
CITY: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [
    {"name": "get_weather", "description": "Get the weather for a city", "input_schema": CITY},
    {"name": "get_time", "description": "Get the time in a city", "input_schema": CITY},
]
# the nearest to a sure answer; the SDK has no parameter for it any more
GREEDY: Any = {"extra_body": {"temperature": 0}}
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108020000"
        "00907753de0000000c4944415478da63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
).decode()
LINE = "The sea is wide. The ship is small. The night is long."
LINES = 20
DRAWING = f"BT /F1 12 Tf 14 TL 72 720 Td {f'({LINE}) Tj T* ' * LINES}ET"
PDF = base64.b64encode(
    (
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 4 0 R>>>>/Contents 5 0 R>>endobj\n"
        "4 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n"
        f"5 0 obj<</Length {len(DRAWING)}>>stream\n{DRAWING}\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    ).encode()
).decode()


@pytest.fixture
async def client(llama: str, start_gateway: StartGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    gateway = await start_gateway(llama)
    async with anthropic.AsyncAnthropic(base_url=str(gateway.make_url("/")), api_key="any", max_retries=0) as client:
        yield client


def ask(*content: Any, **fields: Any) -> Any:
    """A request for a short answer to one message."""
    return {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": list(content)}]} | GREEDY | fields


def text(words: str) -> Any:
    return {"type": "text", "text": words}


def document(**source: str) -> Any:
    return {"type": "document", "source": source}


def prompt_tokens(message: Any) -> int:
    """The size of the prompt as llama.cpp counted it."""
    size: int = message.usage.input_tokens + message.usage.cache_read_input_tokens
    return size


def shots(names: Sequence[str]) -> list[Any]:
    """A conversation that calls these tools for one city after another; it ends with a question that was not answered
    yet.
    """
    conversation: list[Any] = []
    for city in ("Rome", "Oslo", "Lima", "Cairo"):
        calls = [{"type": "tool_use", "id": f"{name}-{city}", "name": name, "input": {"city": city}} for name in names]
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "ok"} for call in calls]
        conversation += [
            {"role": "user", "content": f"Weather in {city}?"},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": results},
        ]
    return [*conversation, {"role": "user", "content": "Weather in Paris?"}]


@pytest.mark.parametrize(
    "names",
    [pytest.param(["get_weather"], id="one call"), pytest.param(["get_weather", "get_time"], id="two parallel calls")],
)
async def test_calls_streamed_and_whole(names: list[str], client: anthropic.AsyncAnthropic) -> None:
    tools = [tool for tool in TOOLS if tool["name"] in names]
    # without thinking the template adds an empty thought, which the turns to copy do not have
    request: Any = {"model": MODEL, "max_tokens": 80, "tools": tools, "thinking": {"type": "adaptive"}} | GREEDY
    request["messages"] = shots(names)

    async with client.messages.stream(**request) as stream:
        messages: list[Any] = [await stream.get_final_message()]
    messages.append(await client.messages.create(**request))

    for message in messages:
        called = [(block.type, block.name, block.input) for block in message.content]
        assert called == [("tool_use", name, {"city": "Paris"}) for name in names]
        assert message.stop_reason == "tool_use"
    ids = [block.id for message in messages for block in message.content]
    assert len(set(ids)) == len(ids)


async def test_a_stop_sequence_ends_an_answer(client: anthropic.AsyncAnthropic) -> None:
    """llama.cpp does not tell which one, nor that it was one."""
    pattern = text("one two three four one two three four one two three four one two three four")
    request = ask(pattern, max_tokens=24, thinking={"type": "adaptive"}, stop_sequences=["three", "never"])

    stopped = await client.messages.create(**request)

    [block] = stopped.content
    assert block.type == "text"
    assert block.text.rstrip().endswith("two")
    assert "three" not in block.text
    assert (stopped.stop_reason, stopped.stop_sequence) == ("end_turn", None)


async def test_the_switch_of_thinking_reaches_the_template(client: anthropic.AsyncAnthropic) -> None:
    """Switched off, the template puts an empty thought into the prompt."""
    hello = text("Hello")

    off = [prompt_tokens(await client.messages.create(**ask(hello, **fields))) for fields in (
        {}, {"thinking": {"type": "disabled"}},
    )]  # fmt: skip
    on = [prompt_tokens(await client.messages.create(**ask(hello, thinking=thinking))) for thinking in (
        {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024},
    )]  # fmt: skip

    assert off[0] == off[1] > on[0] == on[1]


async def test_the_text_of_a_pdf_is_in_the_prompt(client: anthropic.AsyncAnthropic) -> None:
    pdf = document(type="base64", media_type="application/pdf", data=PDF)
    plain = document(type="text", media_type="text/plain", data="\n".join(["[page 1]", *[LINE] * LINES]))

    sizes = [prompt_tokens(await client.messages.create(**ask(source, text("Sum up.")))) for source in (pdf, plain)]

    assert sizes[0] == sizes[1] > 300


async def test_a_text_model_gets_a_note_for_an_image(client: anthropic.AsyncAnthropic) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    note = text("[image left out: this model does not take images]")

    sizes = []
    for content in (image, note):
        async with client.messages.stream(**ask(content, text("What is this?"))) as stream:
            sizes.append(prompt_tokens(await stream.get_final_message()))

    # llama.cpp refused it with a 500; the prompt that it took is the one with the note in the image's place
    assert sizes[0] == sizes[1]


async def test_the_name_that_claude_code_shows_is_served(client: anthropic.AsyncAnthropic) -> None:
    message = await client.messages.create(**ask(text("Hello"), model=f"claude-{MODEL}"))

    assert message.model == f"claude-{MODEL}"
    assert message.usage.output_tokens > 0


async def test_tokens_are_counted_about_as_llama_counts_them(llama: str, client: anthropic.AsyncAnthropic) -> None:
    prose = "The captain wrote a long letter home, in which he told of the wide sea and of seventeen islands. " * 15
    messages: Any = [{"role": "user", "content": prose}]
    chat = {"model": MODEL, "messages": messages}

    counted = await client.messages.count_tokens(model=MODEL, messages=messages)
    async with ClientSession() as session, session.post(f"{llama}/v1/chat/completions/input_tokens", json=chat) as own:
        exact = (await own.json())["input_tokens"]

    assert exact > 250
    assert counted.input_tokens == pytest.approx(exact, rel=0.3)
