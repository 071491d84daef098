"""An answer as one complete message: the body of a `stream: false` response."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.anthropic.partial_json import complete
from gateway.anthropic.writer import Finish, Member, StopReason, search_error

# a call in an answer that ended so may be incomplete
_LIMITS: Final[frozenset[StopReason]] = frozenset({"max_tokens", "model_context_window_exceeded"})


class MessageWriter:
    """Collects one answer; `body` returns its JSON once it is finished."""

    __slots__ = ("_content", "_finish", "_pieces", "_seal")

    def __init__(self) -> None:
        self._content: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._seal: Callable[[str], dict[str, Any]] = _no_block
        self._finish: Finish | None = None

    def begin_text(self) -> None:
        """Open a text block."""
        self._seal = lambda text: {"type": "text", "text": text}

    def begin_thinking(self) -> None:
        """Open a thinking block."""
        self._sign("")

    def redacted_thinking(self, data: str) -> None:
        """Add a complete redacted_thinking block."""
        self._content.append({"type": "redacted_thinking", "data": data})

    def begin_tool_use(self, tool_use_id: str, name: str) -> None:
        """Open a tool_use block."""
        # its input can be read only when it is known how the answer ended
        head = {"type": "tool_use", "id": tool_use_id, "name": str(name)}
        toolset = {"toolset_name": name.toolset} if isinstance(name, Member) else {}
        self._seal = lambda text: {**head, "input": text, **toolset}

    def begin_server_tool_use(self, tool_use_id: str, name: str) -> None:
        """Open a server_tool_use block."""
        head = {"type": "server_tool_use", "id": tool_use_id, "name": name}
        self._seal = lambda text: {**head, "input": tool_input(text)}

    def web_search_error(self, tool_use_id: str, code: str) -> None:
        """Add a complete web_search_tool_result block with an error."""
        self._content.append(search_error(tool_use_id, code))

    def text(self, text: str) -> None:
        """Add to the open text block."""
        self._pieces.append(text)

    def thinking(self, thinking: str) -> None:
        """Add to the open thinking block."""
        self._pieces.append(thinking)

    def signature(self, signature: str) -> None:
        """Sign the open thinking block."""
        self._sign(signature)

    def input_json(self, partial_json: str) -> None:
        """Add to the open tool_use block's input."""
        self._pieces.append(partial_json)

    def end_block(self) -> None:
        """Close the open block."""
        self._content.append(self._seal("".join(self._pieces)))
        self._pieces.clear()
        self._seal = _no_block

    def finish(self, finish: Finish) -> None:
        """End the answer. Only the last call can have been cut off by a token limit."""
        self._finish = finish
        cut_off = finish.stop_reason in _LIMITS
        for block in reversed(self._content):
            if block["type"] == "tool_use":
                block["input"] = tool_input(block["input"], cut_off=cut_off)
                cut_off = False

    def body(self, message_id: str, model: str) -> bytes:
        """The message as JSON. Raises RuntimeError before `finish`."""
        if self._finish is None:
            raise RuntimeError("the answer has not ended")
        return msgspec.json.encode(
            {
                "id": message_id,
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": self._content,
                "stop_reason": self._finish.stop_reason,
                "stop_sequence": self._finish.stop_sequence,
                "usage": self._finish.usage,
            }
        )

    def _sign(self, signature: str) -> None:
        self._seal = lambda text: {"type": "thinking", "thinking": text, "signature": signature}


def tool_input(arguments: str, *, cut_off: bool = False) -> dict[str, Any]:
    """A tool call's arguments as the object that clients need.

    `cut_off`: a token limit ended the answer, and the client learns so from its stop reason; arguments that are
    incomplete are completed then, as the SDKs do with a stream. Otherwise half a command would look like a whole one.
    Anything that is not an object is kept in the form that Claude Code itself uses for such input; this gateway turns
    that form back into the raw text.
    """
    if not arguments.strip():
        return {}
    for text in (arguments, complete(arguments)) if cut_off else (arguments,):
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return {"__unparsedToolInput": {"raw": arguments, "len": len(arguments)}}


def _no_block(text: str) -> dict[str, Any]:
    raise RuntimeError(f"no block is open for {len(text)} characters")
