"""The interface of both answer writers: content blocks, one after the other, then the end.

One block is open at a time; its text, thinking or tool input comes in pieces of any size. `StreamWriter` writes
Anthropic's events and `MessageWriter` the complete message; the shared interface keeps the two consistent.
"""

from typing import Any, Literal, Protocol, Self

from msgspec import Struct

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"]


class Member(str):
    """The name of a tool that belongs to a toolset: its calls carry the toolset's name, too."""

    __slots__ = ("toolset",)

    toolset: str

    def __new__(cls, name: str, toolset: str) -> Self:
        """A member's name."""
        member = super().__new__(cls, name)
        member.toolset = toolset
        return member


class Usage(Struct, frozen=True):
    """Token counts of one answer. As in Anthropic's API, `input_tokens` excludes cached tokens."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


class Finish(Struct, frozen=True):
    """How an answer ended."""

    stop_reason: StopReason
    stop_sequence: str | None
    usage: Usage


def search_error(tool_use_id: str, code: str) -> dict[str, Any]:
    """A web_search_tool_result block for a search that failed."""
    content = {"type": "web_search_tool_result_error", "error_code": code}
    return {"type": "web_search_tool_result", "tool_use_id": tool_use_id, "content": content}


class BlockWriter(Protocol):
    """Takes an answer block by block."""

    def begin_text(self) -> None:
        """Open a text block."""

    def begin_thinking(self) -> None:
        """Open a thinking block."""

    def redacted_thinking(self, data: str) -> None:
        """Add a complete redacted_thinking block; no block may be open."""

    def begin_tool_use(self, tool_use_id: str, name: str) -> None:
        """Open a tool_use block. `name` may be a Member."""

    def begin_server_tool_use(self, tool_use_id: str, name: str) -> None:
        """Open a server_tool_use block; its input follows like that of a tool_use block."""

    def web_search_error(self, tool_use_id: str, code: str) -> None:
        """Add a complete web_search_tool_result block with an error; no block may be open."""

    def text(self, text: str) -> None:
        """Add to the open text block."""

    def thinking(self, thinking: str) -> None:
        """Add to the open thinking block."""

    def signature(self, signature: str) -> None:
        """Sign the open thinking block."""

    def input_json(self, partial_json: str) -> None:
        """Add to the open tool_use block's input."""

    def end_block(self) -> None:
        """Close the open block."""

    def finish(self, finish: Finish) -> None:
        """End the answer; nothing may follow."""
