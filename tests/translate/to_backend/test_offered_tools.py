"""What is made of a list of tools once, for all the requests that it comes with."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.tool_list_cache import KnownTools
from gateway.backend.profiles import PROFILES
from gateway.openai.profile import GENERIC, Profile
from gateway.openai.request import ChatRequest, as_sent
from gateway.tokens.count import TokenCounter
from gateway.translate.both_ways.tool_names import client_names
from gateway.translate.to_backend.request import translate_request

TIGHT = Profile(name="tight", max_tools=3, max_description=20, schema_drops=frozenset({"$schema"}))
LONG = "mcp__" + "x" * 100
TOOLS = [
    {"name": name, "description": f"{name} " * 90, "input_schema": {"$schema": "s", "type": "object"}}
    for name in ("Read", "Edit", LONG, "Bash")
] + [{"type": "web_search_20250305", "name": "web_search"}]


def translated(known: KnownTools | None, profile: Profile, **fields: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS, **fields}
    return translate_request(decode_request(json.dumps(body).encode(), known=known), profile, model="m")


def on_the_wire(chat: ChatRequest) -> str:
    return msgspec.json.encode(as_sent(chat)).decode()


@pytest.mark.parametrize("profile", [*PROFILES.values(), TIGHT], ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tool_choice": {"type": "any"}},
        {"tool_choice": {"type": "tool", "name": "Bash"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ],
    ids=["tools alone", "any must be called", "one must be called", "and a form"],
)
def test_the_backend_gets_the_same_bytes_each_time(profile: Profile, fields: dict[str, Any]) -> None:
    known = KnownTools()
    fresh = on_the_wire(translated(None, profile, **fields))
    for _ in range(3):
        assert on_the_wire(translated(known, profile, **fields)) == fresh


def test_each_backend_gets_its_own_tools_in_turns() -> None:
    known = KnownTools()
    profiles = [structs.replace(TIGHT, max_description=length) for length in range(1, 20)]
    for profile in (*profiles, GENERIC, *profiles):
        assert on_the_wire(translated(known, profile)) == on_the_wire(translated(None, profile))


def test_a_tool_without_a_name_is_refused_each_time() -> None:
    known = KnownTools()
    for _ in range(2):
        with pytest.raises(InvalidRequest, match=r"tools\.1\.name: Field required"):
            translated(known, GENERIC, tools=[TOOLS[0] | {"description": "x" * 3000}, {}])


def test_shortened_names_are_found_each_time() -> None:
    known = KnownTools()
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS})
    for _ in range(3):
        names = client_names(decode_request(body.encode(), known=known).tools)
        assert list(names.values()) == [LONG]


def test_tokens_are_the_same_each_time() -> None:
    known, counter = KnownTools(), TokenCounter()
    fresh = counter.request(translated(None, GENERIC))
    for counted in (counter, TokenCounter()):
        counted.load()
        for _ in range(2):
            chat = translated(known, GENERIC)
            assert counted.request(chat) == fresh
            assert counted.request_if_quick(chat) == fresh


def test_tools_whose_texts_have_been_counted_are_quick_from_the_first_time() -> None:
    counter = TokenCounter()
    fresh = counter.request(translated(None, GENERIC))
    known = KnownTools()
    assert [counter.request_if_quick(translated(known, GENERIC)) for _ in range(3)] == [fresh] * 3
