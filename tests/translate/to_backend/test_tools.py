"""The tools on offer, and the choice that forces one."""

import json
from typing import Any

import msgspec
import pytest

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import Tool, ToolChoice
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
        "These tools are not available here: web_search, code_execution, mcp_toolset. Answer without them; do not make up "
        "what they would return, and say so if the user asks for it."
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
