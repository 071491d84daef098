"""Refuses what only Anthropic's servers can do, where an answer without it would not be what was asked for.

A client cannot tell such an answer from a right one: a conversation that the server should remember would be answered
without its beginning. Fields that only tune an answer or its price are ignored instead.
Source: https://docs.claude.com/en/api/messages
"""

from typing import Any, Final

import msgspec

from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import MessagesRequest

_THREADS: Final = (
    "thread: this gateway holds no conversations between requests: send the whole conversation in `messages`, with "
    "`system` and `tools`, and no `thread`"
)
_SERVERS: Final = (
    "mcp_servers: this gateway connects to no MCP servers: connect the client to them, and send their tools in `tools`"
)
_CONTAINER: Final = "container: this gateway runs no containers and no skills: send the request without `container`"
_COMPACTION: Final = (
    "compaction: this gateway makes no compaction blocks: ask for a summary in `messages` instead, and go on from it"
)


def refuse_server_features(request: MessagesRequest, *, counting: bool) -> None:
    """Raise InvalidRequest if the request needs them. A null, and an object or list without values, asks for nothing.

    `counting`: the request is for `count_tokens`, which ignores `compaction`.
    """
    if _value(request.thread) is not None:
        # with these details, the SDKs send the whole conversation by themselves
        # (anthropics/anthropic-sdk-python, `lib/threads/_thread_state.py`)
        details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        raise InvalidRequest(_THREADS, details=details)
    if _asks(_value(request.mcp_servers)):
        raise InvalidRequest(_SERVERS)
    if _asks(_value(request.container)):
        raise InvalidRequest(_CONTAINER)
    if not counting and _value(request.compaction) is not None:
        raise InvalidRequest(_COMPACTION)


def _value(field: msgspec.Raw) -> Any:
    raw = bytes(field)
    return msgspec.json.decode(raw) if raw else None


def _asks(value: Any) -> bool:
    return any(map(_asks, value.values())) if isinstance(value, dict) else bool(value)
