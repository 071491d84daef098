"""Fits tools to a backend's limits: their number, the length of descriptions, the keywords in schemas.

Tools and descriptions that do not fit are not dropped silently: the system prompt tells the model about them.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from gateway.anthropic.request import ToolChoice
from gateway.openai.profile import Profile
from gateway.openai.request import ToolSpec
from gateway.translate.both_ways.tool_names import backend_name

# JSON Schema keywords whose values map arbitrary names to schemas
_NAMED: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
# keywords whose values are data, which may look like schemas
_DATA: Final = frozenset({"default", "enum", "const", "examples", "example", "required"})


def fit_tools(
    offered: Sequence[ToolSpec], choice: ToolChoice | None, profile: Profile
) -> tuple[list[ToolSpec], list[str], list[str]]:
    """The tools that the backend accepts, the names of those above its limit, and notes for the system prompt."""
    kept, too_many = _within(list(offered), choice, profile.max_tools)
    notes = []
    for spec in kept:
        if note := _fit_description(spec, profile.max_description):
            notes.append(note)
        spec["function"]["parameters"] = plainer(spec["function"]["parameters"], profile)
    return kept, [spec["function"]["name"] for spec in too_many], notes


def _within(
    offered: list[ToolSpec], choice: ToolChoice | None, limit: int | None
) -> tuple[list[ToolSpec], list[ToolSpec]]:
    """The first tools up to the limit, including a forced one, and the remaining ones."""
    if limit is None or len(offered) <= limit:
        return offered, []
    forced = backend_name(choice.name or "") if choice else ""
    kept, rest = offered[:limit], offered[limit:]
    for number, spec in enumerate(rest):
        if spec["function"]["name"] == forced:
            kept[-1], rest[number] = spec, kept[-1]
    return kept, rest


def _fit_description(spec: ToolSpec, limit: int | None) -> str:
    """Truncate a description that is too long. Returns a note with the rest of it, or an empty string."""
    function = spec["function"]
    description = function.get("description", "")
    if limit is None or len(description) <= limit:
        return ""
    function["description"] = description[:limit]
    return f"The description of the tool {function['name']} goes on:\n{description[limit:]}"


def plainer(schema: Raw, profile: Profile) -> Raw:
    """A schema without the keywords that the backend refuses."""
    if not profile.schema_drops:
        return schema
    return Raw(msgspec.json.encode(_without(msgspec.json.decode(schema), profile.schema_drops)))


def _without(schema: Any, keywords: frozenset[str]) -> Any:
    """A schema without these keywords, at any depth. Data in it, such as defaults, stay as they are."""
    if isinstance(schema, list):
        return [_without(item, keywords) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {key: _without(item, keywords) for key, item in value.items()}
        if name in _NAMED and isinstance(value, dict)
        else value
        if name in _DATA
        else _without(value, keywords)
        for name, value in schema.items()
        if name not in keywords
    }
