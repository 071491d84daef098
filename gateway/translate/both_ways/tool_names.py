"""Tool names and call ids, converted to the form that each side accepts, and back.

The mappings are stateless: every replica gives the same result at any time, and the translated conversation stays the
same from turn to turn.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from gateway.anthropic.client_tools import TOOLSETS, client_tools
from gateway.anthropic.request import Tool
from gateway.anthropic.tool_list_cache import SharedTools
from gateway.anthropic.writer import Member
from gateway.openai.profile import Profile
from gateway.openai.request import ChatMessage

# OpenAI and compatible backends refuse longer names, which MCP plugins use
# (https://platform.openai.com/docs/api-reference/chat/create, `tools.function.name`)
_NAME_LIMIT: Final = 64
_CLIENT_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_ENCODED: Final = "toolu_b64_"


def backend_name(name: str, toolset: str | None = None) -> str:
    """A tool's name as backends accept it: at most 64 characters. The result depends on the name alone, and on the
    toolset that the tool belongs to, as toolsets share names.
    """
    if toolset:
        name = f"{toolset}__{name}"
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[:55]}_{blake2b(name.encode(), digest_size=4).hexdigest()}"


def client_names(tools: Sequence[Tool] | None) -> dict[str, str]:
    """The client's names by their form for the backend: shortened names, and members of toolsets (`Member`). Names that
    have only one form are absent.
    """
    if not tools:
        return {}
    if isinstance(tools, SharedTools):
        known: dict[str, str] | None = tools.made.get(client_names)
        if known is None:
            known = tools.made[client_names] = _changed_names(tools)
        return known
    return _changed_names(tools)


def _changed_names(tools: Iterable[Tool]) -> dict[str, str]:
    changed: dict[str, str] = {}
    for tool in tools:
        if tool.type in TOOLSETS:
            for member, _, _, toolset in client_tools(tool) or ():
                changed[backend_name(member, toolset)] = Member(member, toolset or "")
        elif tool.name and len(tool.name) > _NAME_LIMIT:
            changed[backend_name(tool.name)] = tool.name
    return changed


def client_id(call_id: str) -> str:
    """A backend's call id in the alphabet that clients accept; `backend_id` is the inverse."""
    if _CLIENT_ID.fullmatch(call_id) and not call_id.startswith(_ENCODED):
        return call_id
    return _ENCODED + base64.urlsafe_b64encode(call_id.encode()).decode().rstrip("=")


def backend_id(tool_use_id: str) -> str:
    """The backend's id of this call. An id that only looks encoded is returned unchanged."""
    if not tool_use_id.startswith(_ENCODED):
        return tool_use_id
    code = tool_use_id.removeprefix(_ENCODED)
    try:
        call_id = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode()
    except ValueError:
        return tool_use_id
    return call_id if client_id(call_id) == tool_use_id else tool_use_id


def fit_ids(messages: Sequence[ChatMessage], profile: Profile) -> None:
    """Change the ids of calls and results to a length that the backend accepts. Equal ids stay equal."""
    if profile.tool_id_length is None and profile.max_tool_id_length is None:
        return
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["id"] = _fitting_id(call["id"], profile)
        if "tool_call_id" in message:
            message["tool_call_id"] = _fitting_id(message["tool_call_id"], profile)


def _fitting_id(call_id: str, profile: Profile) -> str:
    """The id if it fits; otherwise a hash of it in letters and digits, with the exact or maximum length."""
    exact, most = profile.tool_id_length, profile.max_tool_id_length
    if exact is not None and len(call_id) == exact and call_id.isascii() and call_id.isalnum():
        return call_id
    if exact is None and (most is None or len(call_id) <= most):
        return call_id
    length = exact or most or 0
    return blake2b(call_id.encode(), digest_size=length).hexdigest()[:length]
