"""Tool names and call ids, there and back."""

import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.anthropic.request import Tool
from gateway.openai.profile import Profile
from gateway.openai.request import ChatMessage
from gateway.translate.both_ways.tool_names import (
    backend_id,
    backend_name,
    client_id,
    client_name,
    client_names,
    fit_ids,
    new_client_id,
)

LONG = "mcp__plugin_playwright_playwright__" + "browser_take_screenshot_of_everything"
SHORT = "mcp__plugin_playwright_playwright__browser_take_screens_a943f007"


def tools(*names: str) -> list[Tool]:
    """Tools as a client names them."""
    return [Tool(name=name) for name in names]


def test_names_up_to_64_characters_stay() -> None:
    name = "a" * 64
    assert backend_name(name) == name
    assert client_names(tools(name)) == {}


def test_longer_names_are_shortened_and_found_again() -> None:
    assert len(backend_name("a" * 65)) == 64
    twins = [LONG + "_a", LONG + "_b"]
    names = client_names(tools("Read", LONG, *twins))
    assert names == {backend_name(name): name for name in [LONG, *twins]}
    assert backend_name(LONG) == SHORT
    assert {len(name) for name in names} == {64}
    assert len(names) == 3
    assert client_names(None) == {}


@given(st.text(min_size=1, max_size=200))
@settings(max_examples=200, deadline=None, database=None)
def test_any_name_fits_and_keeps_its_alphabet(name: str) -> None:
    short = backend_name(name)
    assert len(short) <= 64
    assert set(short) <= set(name) | set("0123456789abcdef_")


@pytest.mark.parametrize(
    ("call_id", "expected"),
    [
        pytest.param("call_9fDx", "call_9fDx", id="OpenAI"),
        pytest.param("chatcmpl-tool-0f3a", "chatcmpl-tool-0f3a", id="vLLM"),
        pytest.param("D681PevKs", "D681PevKs", id="Mistral"),
        pytest.param("toolu_01A09q90qw90lq917835lq9", "toolu_01A09q90qw90lq917835lq9", id="Anthropic"),
        pytest.param("functions.Bash:0", "toolu_b64_ZnVuY3Rpb25zLkJhc2g6MA", id="Kimi"),
        pytest.param("", "toolu_b64_", id="empty"),
        pytest.param("toolu_b64_YQ", "toolu_b64_dG9vbHVfYjY0X1lR", id="one that looks encoded"),
    ],
)
def test_ids_in_the_clients_alphabet(call_id: str, expected: str) -> None:
    assert client_id(call_id) == expected
    assert backend_id(expected) == call_id


@given(st.text())
@example("functions.Bash:0")
@example("toolu_b64_")
@example("call_1\n")
@settings(max_examples=300, deadline=None, database=None)
def test_any_id_survives_the_way_to_the_client_and_back(call_id: str) -> None:
    sent = client_id(call_id)
    assert re.fullmatch("[a-zA-Z0-9_-]+", sent)
    assert backend_id(sent) == call_id


@pytest.mark.parametrize(
    "foreign",
    ["toolu_b64_!", "toolu_b64_é", "toolu_b64_A", "toolu_b64__w", "toolu_b64_YR", "toolu_b64_YQ==", "toolu_b64_Y Q"],
    ids=["alphabet", "not ASCII", "cut", "not UTF-8", "spare bits", "padded", "blank"],
)
def test_an_id_that_only_looks_encoded_is_its_own(foreign: str) -> None:
    assert backend_id(foreign) == foreign


@given(st.text(), st.text())
@settings(max_examples=200, deadline=None, database=None)
def test_two_ids_of_a_client_never_become_one(first: str, second: str) -> None:
    encoded = [f"toolu_b64_{first}", f"toolu_b64_{second}"]
    assert (backend_id(encoded[0]) == backend_id(encoded[1])) == (first == second)


def history(*call_ids: str) -> list[ChatMessage]:
    """A turn with calls of these ids, and their results."""
    function: Any = {"name": "Bash", "arguments": "{}"}
    return [
        {"role": "user", "content": "Go."},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": call_id, "type": "function", "function": function} for call_id in call_ids],
        },
        *({"role": "tool", "tool_call_id": call_id, "content": "ok"} for call_id in call_ids),
    ]


@pytest.mark.parametrize(
    ("call_id", "sent"),
    [
        ("D681PevKs", "D681PevKs"),
        ("toolu_01A09q90qw90lq917835lq9", "ef3f492c7"),
        ("functions.Bash:0", "38edc13cc"),
        ("D681-evKs", "7256d992b"),
        ("D681Pevé9", "ae705c2d4"),
        ("", "d6bd6fc9a"),
    ],
    ids=["its own", "Anthropic's", "Kimi's", "a dash", "not ASCII", "empty"],
)
def test_ids_of_a_fixed_length(call_id: str, sent: str) -> None:
    messages = history(call_id)
    fit_ids(messages, Profile(name="nine", tool_id_length=9))
    assert messages == history(sent)


@given(st.sets(st.text(max_size=40), max_size=20))
@settings(max_examples=100, deadline=None, database=None)
def test_ids_of_a_fixed_length_stay_apart(call_ids: set[str]) -> None:
    messages = history(*call_ids)
    fit_ids(messages, Profile(name="nine", tool_id_length=9))
    sent = [call["id"] for call in messages[1]["tool_calls"]]
    assert [message["tool_call_id"] for message in messages[2:]] == sent
    assert len(set(sent)) == len(call_ids)
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", call_id) for call_id in sent)


@pytest.mark.parametrize(("length", "sent"), [(40, 40), (41, 40), (64, 40)])
def test_ids_of_a_length_at_most(length: int, sent: int) -> None:
    messages = history("x" * length)
    fit_ids(messages, Profile(name="short", max_tool_id_length=40))
    call_id = messages[1]["tool_calls"][0]["id"]
    assert (len(call_id), call_id == "x" * length) == (sent, length == sent)
    assert messages[2]["tool_call_id"] == call_id


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("get_weather", "get_weather"),
        ("get_weather<|channel|>commentary", "get_weather"),
        ("get_weather<|channel|>json", "get_weather"),
        ("functions.get_weather", "get_weather"),
        ("functions.get_weather:0", "get_weather"),
        ("default_api.get_weather", "get_weather"),
        ("functions:get_weather", "get_weather"),
        ("commentary to=functions.get_weather", "get_weather"),
        (" get_weather\n", "get_weather"),
        ("`get_weather()`", "get_weather"),
        ("GET_WEATHER", "get_weather"),
        ("get-weather", "get_weather"),
        ("bash", "Bash"),
        ("functions.bash", "Bash"),
        pytest.param(f"functions.{backend_name(LONG)}", LONG, id="a shortened name"),
        ("mcp__a__read", "mcp__a__read"),
        pytest.param("READ", "READ", id="two fit"),
        pytest.param("Read.File", "Read.File", id="not offered"),
        pytest.param("get_weather_now", "get_weather_now", id="longer"),
        pytest.param("", "", id="none"),
    ],
)
def test_a_name_with_noise_is_that_of_the_only_tool_that_fits(called: str, name: str) -> None:
    names = client_names(tools("get_weather", "Bash", "Read", "read", "mcp__a__read", LONG))
    assert client_name(called, names) == name


def test_without_tools_a_name_is_left_alone() -> None:
    assert client_name("functions.get_weather", client_names(None)) == "functions.get_weather"
    assert client_name("functions.get_weather", {}) == "functions.get_weather"


@pytest.mark.parametrize(
    "call_id",
    ["call_0", "call_12", "call0", "0", "tool-1", "tool_call_3", "get_weather_0", "functions.Read:0", "mcp__a__b:7"],
)
def test_an_id_that_only_counts_is_new_for_the_client_each_time_and_found_again(call_id: str) -> None:
    ids = {new_client_id(call_id) for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("toolu_[a-zA-Z0-9_-]{1,100}", found) for found in ids)
    assert {backend_id(found) for found in ids} == {call_id}


@pytest.mark.parametrize(
    "call_id", ["call_9fDx", "chatcmpl-tool-0f3a", "D681PevKs", "toolu_01A09q90qw90lq917835lq9", "call_00_x8Yt"]
)
def test_an_id_that_is_unique_stays(call_id: str) -> None:
    assert new_client_id(call_id) == call_id


@pytest.mark.parametrize(
    "foreign", ["toolu_n0123456789ab_!", "toolu_n0123456789ab_YQ", "toolu_n0123456789ab_Y2FsbF8wa"]
)
def test_an_id_that_only_looks_marked_is_its_own(foreign: str) -> None:
    assert backend_id(foreign) == foreign
