"""Tools that change in mid-conversation: the blocks `tool_addition` and `tool_removal`.

A backend has one list of tools for the whole conversation: that at its end. Tools keep their places in it, and those
that a block defines come last, in the order in which they are defined.
Source: anthropics/anthropic-sdk-python, `types/beta/beta_request_tool_addition_block_param.py`.
"""

from collections.abc import Iterator
from typing import Final

from gateway.anthropic.client_tools import TOOLSETS
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import Block, MessagesRequest, Tool, ToolChange

_ADDED: Final = "tool_addition"
_REMOVED: Final = "tool_removal"


def apply_tool_changes(request: MessagesRequest) -> None:
    """Replace the tools by those at the end of the conversation; without changes, leave them as they are.

    Raises InvalidRequest for a block that names no tool, or adds one that is not known.
    """
    tools: dict[str, Tool] | None = None
    removed: set[str] = set()
    for number, block in _changes(request):
        if tools is None:
            tools = {_name(tool): tool for tool in request.tools or ()}
        change = block.tool
        if change is None or not (name := changed_name(change)):
            raise InvalidRequest(f"messages.{number}.content: a {block.type} block needs the name of a tool in `tool`")
        if block.type == _REMOVED:
            removed.add(name)
            continue
        removed.discard(name)
        if change.definition is not None:
            tools[name] = change.definition
        elif change.type == "tool_reference" and name not in tools:
            raise InvalidRequest(
                f"messages.{number}.content: tool_addition refers to {name!r}, which is not in `tools`"
            )
    if tools is not None:
        request.tools = [tool for name, tool in tools.items() if name not in removed]


def changed_name(change: ToolChange) -> str:
    """The name of the tool, toolset or MCP server that is added or removed; empty if there is none."""
    if change.definition is not None:
        return _name(change.definition)
    if change.server_name:
        return f"{change.server_name}/{change.name}" if change.name else change.server_name
    return change.name or ""


def _changes(request: MessagesRequest) -> Iterator[tuple[int, Block]]:
    for number, message in enumerate(request.messages):
        if message.role != "assistant" and isinstance(message.content, list):
            for block in message.content:
                if block.type in (_ADDED, _REMOVED):
                    yield number, block


def _name(tool: Tool) -> str:
    toolset = TOOLSETS.get(tool.type or "")
    return tool.name or (toolset.name if toolset else tool.type or "")
