"""What a backend has cached stays good: the messages of one turn are a prefix of those of the next, byte for byte.

Between two turns Claude Code moves its `cache_control`, and a message that holds one text turns from a list of blocks
into a string.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.anthropic.decode import decode_request
from gateway.backend.profiles import PROFILES
from gateway.translate.to_backend.request import translate_request
from tests.samples import recorded_requests
from tests.translate.to_backend.conversation import check_conversation

Json = dict[str, Any]

RECORDED = recorded_requests()
MARK = {"cache_control": {"type": "ephemeral"}}


def prompt(body: Json, profile: str = "generic") -> tuple[bytes, list[bytes]]:
    """What comes into the backend's prompt: the tools, and the messages one by one."""
    request = decode_request(json.dumps(body).encode())
    chat = translate_request(request, PROFILES[profile], model="backend-x")
    return msgspec.json.encode(chat.get("tools")), [msgspec.json.encode(message) for message in chat["messages"]]


def unmarked(value: Any) -> Any:
    """A request without any `cache_control`, and with strings for single texts."""
    if isinstance(value, list):
        return [unmarked(item) for item in value]
    if not isinstance(value, dict):
        return value
    content = value.get("content")
    if isinstance(content, list) and len(content) == 1 and content[0]["type"] == "text":
        value = {**value, "content": content[0]["text"]}
    return {name: unmarked(item) for name, item in value.items() if name != "cache_control"}


def marked(body: Json) -> Json:
    """A request with lists of blocks for strings, and a `cache_control` on every block of it."""
    body = json.loads(json.dumps(body))
    for message in body["messages"]:
        if isinstance(message["content"], str):
            message["content"] = [{"type": "text", "text": message["content"]}]
        for block in message["content"]:
            block.update(MARK)
            if isinstance(block.get("content"), str):
                block["content"] = [{"type": "text", "text": block["content"], **MARK}]
    for block in [*body.get("system", ()), *body.get("tools", ())]:
        block.update(MARK)
    return body


def cut(body: Json, count: int) -> Json:
    """The request as it was `count` messages into the conversation."""
    return {**body, "messages": body["messages"][:count]}


def turns(body: Json) -> list[Json]:
    """The requests of a conversation, turn by turn: each ends where the assistant's next turn begins."""
    messages = body["messages"]
    ends = [number for number, message in enumerate(messages) if number and message["role"] == "assistant"]
    return [cut(body, end) for end in [*ends, len(messages)]]


MAIN = [name for name, body in RECORDED.items() if "max_tokens" in body]
LONG = ["2.1.197-turn4", "2.1.330-turn2-tool-result", "2.1.330-turn4"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", LONG)
def test_each_turn_of_a_recorded_session_is_a_prefix_of_the_next(name: str, profile: str) -> None:
    tools, messages = prompt(RECORDED[name], profile)
    for turn in turns(RECORDED[name]):
        earlier_tools, earlier = prompt(turn, profile)
        assert earlier_tools == tools
        assert earlier == messages[: len(earlier)]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2.1.197-turn1", "2.1.197-turn4"),
        ("2.1.330-turn1", "2.1.330-turn2-tool-result"),
        ("2.1.330-turn2-tool-result", "2.1.330-turn4"),
    ],
)
def test_two_recordings_of_one_session(earlier: str, later: str) -> None:
    earlier_tools, earlier_messages = prompt(RECORDED[earlier])
    tools, messages = prompt(RECORDED[later])
    assert earlier_tools == tools
    assert earlier_messages == messages[: len(earlier_messages)]


@pytest.mark.parametrize("name", MAIN)
def test_the_place_of_cache_control_and_the_form_of_texts_change_nothing(name: str) -> None:
    expected = prompt(RECORDED[name])
    assert prompt(unmarked(RECORDED[name])) == expected
    assert prompt(marked(RECORDED[name])) == expected


@pytest.mark.parametrize("name", MAIN)
def test_the_billing_header_changes_nothing(name: str) -> None:
    header = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.119.25f; cch=1e37d;"}
    system = [block for block in RECORDED[name]["system"] if not block["text"].startswith("x-anthropic-billing")]
    assert prompt({**RECORDED[name], "system": [header, *system]}) == prompt({**RECORDED[name], "system": system})


# conversations of any shape

texts = st.text(max_size=12)
said = st.text(min_size=1, max_size=12)


def text(value: str) -> Json:
    return {"type": "text", "text": value}


image = st.just({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}})
unknown = st.just({"type": "container_upload", "file_id": "f"})
thinking = st.builds(lambda value: {"type": "thinking", "thinking": value, "signature": ""}, texts)
parts = st.one_of(st.builds(text, texts), image, unknown)
results = st.one_of(texts, st.none(), st.lists(st.one_of(st.builds(text, texts), image), max_size=2))


@st.composite
def exchanges(draw: st.DrawFn, number: int) -> list[Json]:
    """What the client says, and what the assistant answers: some answers are calls, which the next exchange answers."""
    asked = [{"role": "user", "content": draw(said)}]
    if draw(st.booleans()):
        asked.append({"role": "user", "content": draw(st.lists(parts, max_size=2))})
    if draw(st.booleans()):
        asked.insert(draw(st.integers(0, len(asked))), {"role": "system", "content": draw(texts)})
    names = [f"call_{number}_{index}" for index in range(draw(st.integers(0, 3)))]
    answer = [
        *draw(st.lists(thinking, max_size=1)),
        text(draw(said if not names else texts)),
        *({"type": "tool_use", "id": name, "name": "Bash", "input": {"n": draw(texts)}} for name in names),
    ]
    answered = [
        {"type": "tool_result", "tool_use_id": name, "content": draw(results), "is_error": draw(st.booleans())}
        for name in draw(st.permutations(names))
        # now and then the user interrupts
        if draw(st.integers(0, 9))
    ]
    # now and then a result has no call
    if not draw(st.integers(0, 9)):
        answered.append({"type": "tool_result", "tool_use_id": f"call_{number - 1}_0", "content": "late"})
    return [*asked, {"role": "assistant", "content": answer}, {"role": "user", "content": answered}]


@st.composite
def conversations(draw: st.DrawFn) -> Json:
    count = draw(st.integers(1, 4))
    messages = [message for number in range(count) for message in draw(exchanges(number))]
    return {"model": "m", "max_tokens": 1, "messages": messages, "thinking": {"type": "adaptive"}}


@given(conversations(), st.sampled_from(sorted(PROFILES)))
@settings(max_examples=100, deadline=None, database=None)
def test_each_turn_of_any_conversation_is_a_prefix_of_the_next(body: Json, profile: str) -> None:
    _, messages = prompt(body, profile)
    for turn in turns(body):
        _, earlier = prompt(turn, profile)
        assert earlier == messages[: len(earlier)]


@given(conversations(), st.sampled_from(sorted(PROFILES)))
@settings(max_examples=100, deadline=None, database=None)
def test_any_conversation_keeps_the_rules(body: Json, profile: str) -> None:
    _, messages = prompt(body, profile)
    check_conversation([json.loads(message) for message in messages])
    assert prompt(marked(body), profile) == prompt(unmarked(body), profile) == prompt(body, profile)


roles = st.sampled_from(["user", "assistant", "system"])
ids = st.sampled_from(["a", "b", "toolu_b64_YS5i"])
blocks = st.one_of(
    parts,
    thinking,
    st.builds(lambda name: {"type": "tool_use", "id": name, "name": "Bash", "input": {}}, ids),
    st.builds(lambda name, content: {"type": "tool_result", "tool_use_id": name, "content": content}, ids, results),
)


@given(st.lists(st.tuples(roles, st.lists(blocks, max_size=3)), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None, database=None)
def test_any_heap_of_blocks_becomes_a_conversation(heap: list[tuple[str, list[Json]]]) -> None:
    messages = [{"role": "user", "content": "Go."}, *({"role": role, "content": content} for role, content in heap)]
    _, chat = prompt({"model": "m", "max_tokens": 1, "messages": messages})
    check_conversation([json.loads(message) for message in chat])


SCRIPT = """
import hashlib, json, sys
import msgspec
from gateway.anthropic.decode import decode_request
from gateway.backend.profiles import PROFILES
from gateway.translate.to_backend.request import translate_request
request = decode_request(sys.stdin.buffer.read())
for profile in PROFILES.values():
    body = msgspec.json.encode(translate_request(request, profile, model="backend-x"))
    print(profile.name, hashlib.sha256(body).hexdigest())
"""


def test_every_replica_sends_the_same_bytes() -> None:
    body = json.dumps(RECORDED["2.1.330-turn4"]).encode()
    first, second = (
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            input=body,
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second
    assert len(first.splitlines()) == len(PROFILES)
