"""Tool names and call ids, converted to the form that each side accepts, and back.

The mappings are stateless: every replica gives the same result at any time, and the translated conversation stays the
same from turn to turn.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from gateway.anthropic.client_tools import TOOLSETS, client_tools
from gateway.anthropic.ids import new_mark
from gateway.anthropic.request import Tool
from gateway.anthropic.tool_list_cache import SharedTools
from gateway.anthropic.writer import Member
from gateway.openai.profile import Profile
from gateway.openai.request import ChatMessage

# OpenAI and compatible backends refuse longer names, which MCP plugins use
# (https://platform.openai.com/docs/api-reference/chat/create, `tools.function.name`)
_NAME_LIMIT: Final = 64
_CLIENT_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
# around a name, and behind it in Kimi's ids
_QUOTES: Final = " \t\r\n\"'`()"
_NUMBER: Final = re.compile(r":[0-9]{1,6}$")
# between a namespace and a name
_SEPARATOR: Final = re.compile(r"[.:/]")
_ENCODED: Final = "toolu_b64_"
# An id that only counts, such as `call_0` or Kimi's `functions.Read:0`: it comes again in each answer. The client gets
# it behind a random mark.
_COUNTER: Final = re.compile(r"(?:(?:[A-Za-z]{1,40}[-_.:]{1,2}){1,8}|call|tool)?[0-9]{1,4}")
_MARKED: Final = re.compile("toolu_n[0-9a-f]{12}_([a-zA-Z0-9_-]+)")


def backend_name(name: str, toolset: str | None = None) -> str:
    """A tool's name as backends accept it: at most 64 characters. The result depends on the name alone, and on the
    toolset that the tool belongs to, as toolsets share names.
    """
    if toolset:
        name = f"{toolset}__{name}"
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[:55]}_{blake2b(name.encode(), digest_size=4).hexdigest()}"


class ClientNames(dict[str, str]):
    """The client's names by their form for the backend: shortened names, and members of toolsets (`Member`). Names that
    have only one form are absent. `offered`: the names of all tools in their form for the backend.
    """

    __slots__ = ("offered",)

    def __init__(self, names: Mapping[str, str] | None = None, offered: Iterable[str] = ()) -> None:
        super().__init__(names or {})
        self.offered = frozenset(offered)


def client_names(tools: Sequence[Tool] | None) -> ClientNames:
    """The client's names by their form for the backend."""
    if not tools:
        return ClientNames()
    if isinstance(tools, SharedTools):
        known: ClientNames | None = tools.made.get(client_names)
        if known is None:
            known = tools.made[client_names] = _changed_names(tools)
        return known
    return _changed_names(tools)


def client_name(name: str, names: Mapping[str, str]) -> str:
    """The client's name of the tool that a backend calls. `names`: those of the client.

    Models and parsers leave parts of the template in a name (`get_weather<|channel|>commentary`), put a namespace in
    front (`functions.get_weather`) or a number behind, or change its case. Such a name becomes that of the offered
    tool, if exactly one fits.
    """
    known = names.get(name)
    offered = names.offered if isinstance(names, ClientNames) else None
    if known is None and offered and name not in offered and (fitting := _fitting_name(name, offered)):
        return names.get(fitting, fitting)
    return name if known is None else known


def _fitting_name(name: str, offered: frozenset[str]) -> str | None:
    bare = _NUMBER.sub("", name.partition("<|")[0].rpartition("to=")[2].strip(_QUOTES))
    for candidate in (bare, _SEPARATOR.split(bare)[-1]):
        if candidate in offered:
            return candidate
        alike = [known for known in offered if candidate and _folded(known) == _folded(candidate)]
        if len(alike) == 1:
            return alike[0]
    return None


def _folded(name: str) -> str:
    return name.replace("-", "_").lower()


def _changed_names(tools: Iterable[Tool]) -> ClientNames:
    changed, offered = dict[str, str](), set[str]()
    for tool in tools:
        if tool.type in TOOLSETS:
            for member, _, _, toolset in client_tools(tool) or ():
                changed[backend_name(member, toolset)] = Member(member, toolset or "")
        elif tool.name:
            offered.add(backend_name(tool.name))
            if len(tool.name) > _NAME_LIMIT:
                changed[backend_name(tool.name)] = tool.name
    return ClientNames(changed, offered.union(changed))


def client_id(call_id: str) -> str:
    """A backend's call id in the alphabet that clients accept; `backend_id` is the inverse."""
    if _CLIENT_ID.fullmatch(call_id) and not (call_id.startswith(_ENCODED) or _MARKED.fullmatch(call_id)):
        return call_id
    return _ENCODED + _code(call_id)


def new_client_id(call_id: str) -> str:
    """The id under which a client gets a new call: one that no other answer has. `backend_id` is the inverse."""
    if _COUNTER.fullmatch(call_id):
        return f"toolu_n{new_mark()}_{_code(call_id)}"
    return client_id(call_id)


def backend_id(tool_use_id: str) -> str:
    """The backend's id of this call. An id that only looks encoded is returned unchanged."""
    marked = _MARKED.fullmatch(tool_use_id)
    if marked is None and not tool_use_id.startswith(_ENCODED):
        return tool_use_id
    code = marked[1] if marked else tool_use_id.removeprefix(_ENCODED)
    try:
        call_id = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode()
    except ValueError:
        return tool_use_id
    if marked:
        return call_id if _COUNTER.fullmatch(call_id) and _code(call_id) == code else tool_use_id
    return call_id if client_id(call_id) == tool_use_id else tool_use_id


def _code(call_id: str) -> str:
    return base64.urlsafe_b64encode(call_id.encode()).decode().rstrip("=")


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
