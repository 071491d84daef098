"""Tools that a backend would refuse: what it gets in their place, and what the model is told."""

import json
from typing import Any

import msgspec
import pytest

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import ToolChoice
from gateway.openai.profile import Profile
from gateway.translate.to_backend.tool_limits import fit_tools
from gateway.translate.to_backend.tools import translate_tools

Json = dict[str, Any]


def fitted(
    tools: list[Json], choice: ToolChoice | None = None, **limits: Any
) -> tuple[list[Json], list[str], list[str]]:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], "tools": tools}
    offered, _ = translate_tools(decode_request(json.dumps(body).encode()).tools)
    specs, too_many, notes = fit_tools(offered, choice, Profile(name="x", **limits))
    return [tool["function"] for tool in json.loads(msgspec.json.encode(specs))], too_many, notes


def tool(name: str, **fields: Any) -> Json:
    return {"name": name, "input_schema": {"type": "object"}, **fields}


def test_without_limits_all_goes_through() -> None:
    functions, too_many, notes = fitted([tool(f"t{number}", description="x" * 9000) for number in range(200)])
    assert len(functions) == 200
    assert (too_many, notes) == ([], [])


@pytest.mark.parametrize(
    ("forced", "kept", "rest"),
    [
        (None, ["a", "b"], ["c", "d"]),
        ("b", ["a", "b"], ["c", "d"]),
        ("d", ["a", "d"], ["c", "b"]),
        ("z", ["a", "b"], ["c", "d"]),
    ],
    ids=["any", "one within", "one above", "one that is not there"],
)
def test_the_first_tools_stay_and_the_forced_one(forced: str | None, kept: list[str], rest: list[str]) -> None:
    choice = ToolChoice(type="tool", name=forced) if forced else None
    functions, too_many, _ = fitted([tool(name) for name in "abcd"], choice, max_tools=2)
    assert [function["name"] for function in functions] == kept
    assert too_many == rest


def test_what_is_cut_off_a_description_is_told_to_the_model() -> None:
    functions, _, notes = fitted(
        [tool("Read", description="abcdef"), tool("Edit", description="abc")], max_description=4
    )
    assert [function["description"] for function in functions] == ["abcd", "abc"]
    assert notes == ["The description of the tool Read goes on:\nef"]


def test_refused_keywords_are_left_out_at_any_depth_but_not_properties_of_that_name() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "map": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": False},
            "either": {"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}]},
        },
        "required": ["$schema"],
        "$defs": {"additionalProperties": {"type": "object", "additionalProperties": False}},
    }
    drops = frozenset({"$schema", "propertyNames", "additionalProperties"})
    ((function,), _, _) = fitted([tool("Read") | {"input_schema": schema}], schema_drops=drops)
    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "map": {"type": "object"},
            "either": {"anyOf": [{"type": "object"}, {"type": "null"}]},
        },
        "required": ["$schema"],
        "$defs": {"additionalProperties": {"type": "object"}},
    }
