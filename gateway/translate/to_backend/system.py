"""System prompts: the initial one, and system messages in mid-conversation.

Invariants, after vLLM's `vllm/entrypoints/anthropic/inline_system.py` (vllm-project/vllm#53393):
- A system message in mid-conversation keeps its place: moving it to the front would change the prefix that the backend
  has cached. Many chat templates refuse the role there, so it becomes part of the surrounding user turn.
- It never comes between a tool call and its result.
- Claude Code's first line (`x-anthropic-billing-header:`) is dropped: it is for accounting, differs between
  conversations, and would invalidate the prefix cache for everything after it (vllm-project/vllm#36829).
"""

from collections.abc import Sequence

from gateway.anthropic.request import Block
from gateway.translate.to_backend.media import tool_change_text, unknown_text

_BILLING = "x-anthropic-billing-header:"


def system_text(system: str | Sequence[Block] | None, notes: Sequence[str] = ()) -> str:
    """The system prompt as one text, with blank lines between blocks and notes; empty if there is none."""
    texts = [system] if isinstance(system, str) else [_block_text(block) for block in system or ()]
    return "\n\n".join(text for text in (*map(_without_billing, texts), *notes) if text)


def inline_system_text(content: str | Sequence[Block]) -> str:
    """A system message in mid-conversation as user text; empty if it has no content."""
    text = system_text(content)
    return f"<system-reminder>\n{text}\n</system-reminder>" if text.strip() else ""


def _block_text(block: Block) -> str:
    if block.type in ("tool_addition", "tool_removal"):
        return tool_change_text(block)
    return (block.text or "") if block.type == "text" else unknown_text(block)


def _without_billing(text: str) -> str:
    """The text without its billing line. Claude Code sends the line as a separate block, but a client may join the
    blocks into one string, whose other lines must be kept.
    """
    return text.partition("\n")[2].lstrip("\n") if text.startswith(_BILLING) else text
