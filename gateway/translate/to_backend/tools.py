"""Tools: what is on offer, which one is chosen, and names and ids that both sides accept.

Names and ids are mapped without state, so that any replica, at any time, maps them alike and the translated
conversation stays the same from turn to turn.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

from msgspec import Raw

from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.known_tools import SharedTools
from gateway.anthropic.request import Tool, ToolChoice
from gateway.openai.profile import Profile
from gateway.openai.request import ChatMessage, ToolSpec

# OpenAI and its followers refuse longer names; MCP plugins have them (peers.md, section 3, 17)
_NAME_LIMIT: Final = 64
_CLIENT_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_ENCODED: Final = "toolu_b64_"
# Claude Code's stand-in for tools that it has not loaded: nothing that a model could call
_PLACEHOLDER: Final = "DeferredToolPlaceholder"
_EMPTY_SCHEMA: Final = Raw(b'{"type":"object","properties":{}}')


def backend_name(name: str) -> str:
    """A tool's name as backends take it: 64 characters at most, the same for the same name always."""
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[:55]}_{blake2b(name.encode(), digest_size=4).hexdigest()}"


def client_names(tools: Sequence[Tool] | None) -> dict[str, str]:
    """The way back: shortened names to the client's own. Names that went as they are do not appear."""
    if not tools:
        return {}
    if isinstance(tools, SharedTools):
        known: dict[str, str] | None = tools.made.get(client_names)
        if known is None:
            known = tools.made[client_names] = _long_names(tools)
        return known
    return _long_names(tools)


def _long_names(tools: Iterable[Tool]) -> dict[str, str]:
    names = (tool.name for tool in tools if tool.name)
    return {backend_name(name): name for name in names if len(name) > _NAME_LIMIT}


def client_id(call_id: str) -> str:
    """A backend's call id in the alphabet that clients check for; `backend_id` undoes it."""
    if _CLIENT_ID.fullmatch(call_id) and not call_id.startswith(_ENCODED):
        return call_id
    return _ENCODED + base64.urlsafe_b64encode(call_id.encode()).decode().rstrip("=")


def backend_id(tool_use_id: str) -> str:
    """The id that the backend gave this call. An id that only looks encoded is its own."""
    if not tool_use_id.startswith(_ENCODED):
        return tool_use_id
    code = tool_use_id.removeprefix(_ENCODED)
    try:
        call_id = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode()
    except ValueError:
        return tool_use_id
    return call_id if client_id(call_id) == tool_use_id else tool_use_id


def fit_ids(messages: Sequence[ChatMessage], profile: Profile) -> None:
    """Give the ids of calls and results the length that the backend takes, the same for the same id always."""
    if profile.tool_id_length is None and profile.max_tool_id_length is None:
        return
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["id"] = _fitting_id(call["id"], profile)
        if "tool_call_id" in message:
            message["tool_call_id"] = _fitting_id(message["tool_call_id"], profile)


def _fitting_id(call_id: str, profile: Profile) -> str:
    """The id if it fits; else letters and digits of the length that it must have, or may have at most."""
    exact, most = profile.tool_id_length, profile.max_tool_id_length
    if exact is not None and len(call_id) == exact and call_id.isascii() and call_id.isalnum():
        return call_id
    if exact is None and (most is None or len(call_id) <= most):
        return call_id
    length = exact or most or 0
    return blake2b(call_id.encode(), digest_size=length).hexdigest()[:length]


def translate_tools(tools: Sequence[Tool]) -> tuple[list[ToolSpec], list[str]]:
    """The tools on offer, and the names of those left out because only Anthropic's servers could run them.

    Tools that the client loads later (`defer_loading`) go last: the list in front of them, and with it the prompt's
    prefix, stays as it was (research/claude-code.md, section 3.4).
    """
    kept: list[ToolSpec] = []
    deferred: list[ToolSpec] = []
    left_out: list[str] = []
    for number, tool in enumerate(tools):
        if not tool.name:
            if not tool.type or tool.type == "custom":
                raise InvalidRequest(f"tools.{number}.name: Field required")
            left_out.append(tool.type)
        elif tool.type not in (None, "custom") and not _has_schema(tool):
            left_out.append(tool.name)
        elif tool.name != _PLACEHOLDER:
            (deferred if tool.defer_loading else kept).append(_spec(tool, tool.name))
    return kept + deferred, left_out


def left_out_note(names: Sequence[str]) -> str:
    """One line for the model on tools that it will not find."""
    return f"These tools are not available here, answer without them: {', '.join(names)}."


def translate_choice(choice: ToolChoice | None, offered: Sequence[ToolSpec]) -> str | dict[str, Any] | None:
    """`tool_choice` for a request that offers tools; None where the backend's default (auto) is meant.

    A forced tool that is not on offer (a server's own) cannot be forced. Raises InvalidRequest for an unknown type.
    """
    if choice is None or choice.type == "auto":
        return None
    if choice.type == "any":
        return "required"
    if choice.type == "none":
        return "none"
    if choice.type == "tool":
        name = backend_name(choice.name or "")
        if any(tool["function"]["name"] == name for tool in offered):
            return {"type": "function", "function": {"name": name}}
        return None
    raise InvalidRequest("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")


def _spec(tool: Tool, name: str) -> ToolSpec:
    schema = tool.input_schema if _has_schema(tool) else _EMPTY_SCHEMA
    spec: ToolSpec = {"type": "function", "function": {"name": backend_name(name), "parameters": schema}}
    if tool.description:
        spec["function"]["description"] = tool.description
    return spec


def _has_schema(tool: Tool) -> bool:
    return bytes(tool.input_schema) not in (b"", b"null")
