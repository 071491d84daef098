"""Tools: those that are offered, and the choice among them."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Raw

from gateway.anthropic.client_tools import TOOLSETS, ClientTool, client_tools, is_deferred
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import Tool, ToolChoice
from gateway.openai.request import ToolSpec
from gateway.translate.both_ways.tool_names import backend_name

# Claude Code's placeholder for tools that it has not loaded; a model cannot call it
_PLACEHOLDER: Final = "DeferredToolPlaceholder"
EMPTY_SCHEMA: Final = Raw(b'{"type":"object","properties":{}}')


def translate_tools(tools: Sequence[Tool]) -> tuple[list[ToolSpec], list[str]]:
    """The tools to offer, and the names of those left out because only Anthropic's servers could run them, or because
    their type is not known. Anthropic's own client tools are offered with the schemas that Claude would know.

    Tools that the client loads later (`defer_loading`) go last. Claude Code inserts them in mid-list; moving them keeps
    the list before them, and so the prompt's prefix, unchanged. Raises InvalidRequest for a tool without a name.
    """
    kept: list[ToolSpec] = []
    deferred: list[ToolSpec] = []
    left_out: list[str] = []
    for number, tool in enumerate(tools):
        if tool.type is not None and not _has_schema(tool) and (defined := client_tools(tool)) is not None:
            (deferred if is_deferred(tool) else kept).extend(map(_defined_spec, defined))
        elif not tool.name:
            if not tool.type or tool.type == "custom":
                raise InvalidRequest(f"tools.{number}.name: Field required")
            left_out.append(tool.type)
        elif tool.type not in (None, "custom") and not _has_schema(tool):
            left_out.append(tool.name)
        elif tool.name != _PLACEHOLDER:
            (deferred if tool.defer_loading else kept).append(_spec(tool, tool.name))
    return kept + deferred, left_out


def left_out_note(names: Sequence[str]) -> str:
    """One line that tells the model which tools are missing. Models that are told less invent their results."""
    return (
        f"These tools are not available here: {', '.join(names)}. Answer without them; do not make up what they would "
        "return, and say so if the user asks for it."
    )


def translate_choice(choice: ToolChoice | None, offered: Sequence[ToolSpec]) -> str | dict[str, Any] | None:
    """`tool_choice` for a request that offers tools; None for the backend's default (auto).

    A name of Anthropic's may stand for the one member of a toolset that has it, or for a toolset if nothing else is
    offered. A forced tool that is not offered (a server tool) cannot be forced: the result is None. Raises
    InvalidRequest for an unknown type.
    """
    if choice is None or choice.type == "auto":
        return None
    if choice.type == "any":
        return "required"
    if choice.type == "none":
        return "none"
    if choice.type == "tool":
        names = [tool["function"]["name"] for tool in offered]
        if len(found := _meant(choice.name or "", names)) == 1:
            return {"type": "function", "function": {"name": found[0]}}
        return "required" if found and len(found) == len(names) else None
    raise InvalidRequest("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")


def forces_call(choice: ToolChoice | None) -> bool:
    """Whether the model must call a tool."""
    return choice is not None and choice.type in ("any", "tool")


def _meant(name: str, offered: Sequence[str]) -> Sequence[str]:
    """The offered tools that a client may mean by a name."""
    if (whole := backend_name(name)) in offered:
        return [whole]
    members = [member for toolset in TOOLSETS.values() if (member := backend_name(name, toolset.name)) in offered]
    if members or not name:
        return members
    return [each for each in offered if each.startswith(backend_name("", name))]


def _defined_spec(tool: ClientTool) -> ToolSpec:
    name = backend_name(tool.name, tool.toolset)
    return {
        "type": "function",
        "function": {"name": name, "parameters": tool.input_schema, "description": tool.description},
    }


def _spec(tool: Tool, name: str) -> ToolSpec:
    schema = tool.input_schema if _has_schema(tool) else EMPTY_SCHEMA
    spec: ToolSpec = {"type": "function", "function": {"name": backend_name(name), "parameters": schema}}
    if tool.description:
        spec["function"]["description"] = tool.description
    return spec


def _has_schema(tool: Tool) -> bool:
    return bytes(tool.input_schema) not in (b"", b"null")
