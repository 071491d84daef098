"""Tools on offered, the forced choice, and names and ids in both directions."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import Tool, ToolChoice
from gateway.openai.profile import Profile
from gateway.openai.request import ChatMessage
from gateway.translate.both_ways.tool_names import backend_id, backend_name, client_id, client_names, fit_ids
from gateway.translate.to_backend.tools import left_out_note, translate_choice, translate_tools

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
EMPTY = {"type": "object", "properties": {}}
LONG = "mcp__plugin_playwright_playwright__" + "browser_take_screenshot_of_everything"
SHORT = "mcp__plugin_playwright_playwright__browser_take_screens_a943f007"


def tools(*items: dict[str, Any]) -> list[Tool]:
    """A request's tools, as they come off the wire."""
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}], "tools": items}
    found = decode_request(json.dumps(body).encode()).tools
    assert found is not None
    return found


def wire(specs: Any) -> Any:
    """What goes out, as the backend reads it."""
    return msgspec.json.decode(msgspec.json.encode(specs))


def function(name: str, parameters: dict[str, Any] = SCHEMA, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **fields}}


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        pytest.param({"name": "Read", "input_schema": SCHEMA}, function("Read"), id="plain"),
        pytest.param(
            {"name": "Read", "description": "Reads.", "input_schema": SCHEMA},
            function("Read", description="Reads."),
            id="with description",
        ),
        pytest.param({"type": "custom", "name": "Read", "input_schema": SCHEMA}, function("Read"), id="type custom"),
        pytest.param({"type": None, "name": "Read", "input_schema": SCHEMA}, function("Read"), id="type null"),
        pytest.param(
            {"type": "bash_20250124", "name": "bash", "input_schema": SCHEMA},
            function("bash"),
            id="a typed tool with a schema of its own",
        ),
        pytest.param({"name": "Now"}, function("Now", EMPTY), id="no schema"),
        pytest.param({"type": "custom", "name": "Now"}, function("Now", EMPTY), id="type custom, no schema"),
        pytest.param({"name": "Now", "input_schema": None}, function("Now", EMPTY), id="schema null"),
        pytest.param(
            {
                "name": "Read",
                "input_schema": SCHEMA,
                "cache_control": {"type": "ephemeral"},
                "defer_loading": True,
                "eager_input_streaming": True,
                "strict": True,
                "input_examples": [{"path": "/"}],
                "allowed_callers": ["direct"],
            },
            function("Read"),
            id="nothing of Anthropic's leaks",
        ),
        pytest.param({"name": LONG, "input_schema": SCHEMA}, function(SHORT), id="a name over 64 characters"),
    ],
)
def test_a_tool_becomes_a_function(tool: dict[str, Any], expected: dict[str, Any]) -> None:
    specs, left_out = translate_tools(tools(tool))
    assert wire(specs) == [expected]
    assert left_out == []


@pytest.mark.parametrize(
    "schema",
    [
        b'{"type": "object",  "properties":{}}',
        b'{"properties":{"n":{"type":"number","default":5000.0,"maximum":9007199254740991,"exclusiveMinimum":0}}}',
        b'{"required":["b","a"],"properties":{"b":{"anyOf":[{"enum":["\\u00e9",null]}]},"a":{"pattern":"^\\\\d+$"}}}',
        b'{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false}',
    ],
    ids=["blanks", "numbers", "escapes and order", "dialect"],
)
def test_a_schema_goes_through_byte_for_byte(schema: bytes) -> None:
    body = (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"t","input_schema":'
    )
    specs, _ = translate_tools(decode_request(body + schema + b"}]}").tools)
    assert b'"parameters":' + schema + b"}" in msgspec.json.encode(specs)


def test_no_tools_are_no_tools() -> None:
    assert translate_tools([]) == ([], [])


def test_what_only_anthropics_servers_can_run_is_left_out() -> None:
    specs, left_out = translate_tools(
        tools(
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
            {"name": "Read", "input_schema": SCHEMA},
            {"type": "code_execution_20260120", "name": "code_execution"},
            {"type": "mcp_toolset", "mcp_server_name": "files"},
        )
    )
    assert wire(specs) == [function("Read")]
    assert left_out == ["web_search", "code_execution", "mcp_toolset"]
    assert left_out_note(left_out) == (
        "These tools are not available here, answer without them: web_search, code_execution, mcp_toolset."
    )


def test_deferred_tools_go_last_and_their_placeholder_goes() -> None:
    specs, left_out = translate_tools(
        tools(
            {"name": "Bash", "input_schema": SCHEMA},
            {"name": "CronList", "input_schema": SCHEMA, "defer_loading": True},
            {"name": "Edit", "input_schema": SCHEMA, "defer_loading": False},
            {"name": "WebFetch", "input_schema": SCHEMA, "defer_loading": True},
            {"name": "DeferredToolPlaceholder", "input_schema": EMPTY, "defer_loading": True},
            {"name": "Write", "input_schema": SCHEMA},
        )
    )
    assert [spec["function"]["name"] for spec in specs] == ["Bash", "Edit", "Write", "CronList", "WebFetch"]
    assert left_out == []


@pytest.mark.parametrize("tool", [{"input_schema": SCHEMA}, {"type": "custom", "name": ""}], ids=["none", "empty"])
def test_a_tool_without_a_name_is_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translate_tools(tools({"name": "Read"}, tool))
    assert caught.value.message == "tools.1.name: Field required"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        pytest.param(None, None, id="none given"),
        pytest.param(ToolChoice("auto"), None, id="auto"),
        pytest.param(ToolChoice("any"), "required", id="any"),
        pytest.param(ToolChoice("none"), "none", id="none"),
        pytest.param(ToolChoice("tool", "Read"), {"type": "function", "function": {"name": "Read"}}, id="tool"),
        pytest.param(
            ToolChoice("tool", LONG), {"type": "function", "function": {"name": SHORT}}, id="a tool with a long name"
        ),
        pytest.param(ToolChoice("tool", "web_search"), None, id="a tool that was left out"),
        pytest.param(ToolChoice("tool"), None, id="a tool without a name"),
    ],
)
def test_the_choice_in_the_backends_words(choice: ToolChoice | None, expected: Any) -> None:
    offered, _ = translate_tools(
        tools(
            {"name": "Read", "input_schema": SCHEMA},
            {"name": LONG, "input_schema": SCHEMA},
            {"type": "web_search_20250305", "name": "web_search"},
        )
    )
    assert translate_choice(choice, offered) == expected


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        translate_choice(ToolChoice("some"), translate_tools(tools({"name": "Read"}))[0])
    assert caught.value.message == "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'"


def test_names_up_to_64_characters_stay() -> None:
    name = "a" * 64
    assert backend_name(name) == name
    assert client_names(tools({"name": name})) == {}


def test_longer_names_are_shortened_and_found_again() -> None:
    assert len(backend_name("a" * 65)) == 64
    twins = [LONG + "_a", LONG + "_b"]
    names = client_names(tools(*({"name": name} for name in ["Read", LONG, *twins])))
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
