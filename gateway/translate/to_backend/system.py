"""System prompts: the one at the front, and the ones that come in the middle of a conversation.

Invariants, after vLLM's `inline_system`:
- A system message in the middle keeps its place. Moved to the front it would change the prefix that the backend has
  cached, and many chat templates refuse it where it stands: so it becomes part of the user turn that it stands in.
- It never comes between a tool call and its result.
- The line that Claude Code puts first (`x-anthropic-billing-header:`) is accounting, differs between conversations,
  and would spoil the prefix cache of all that follows: it is left out.
"""

from collections.abc import Sequence

from gateway.anthropic.request import Block
from gateway.translate.to_backend.media import unknown_text

_BILLING = "x-anthropic-billing-header:"


def system_text(system: str | Sequence[Block] | None, notes: Sequence[str] = ()) -> str:
    """The system prompt as one text, blocks and notes parted by blank lines; empty when there is none."""
    texts = [system] if isinstance(system, str) else [_block_text(block) for block in system or ()]
    return "\n\n".join(text for text in (*map(_without_billing, texts), *notes) if text)


def inline_system_text(content: str | Sequence[Block]) -> str:
    """A system message of the middle as user text; empty when there is nothing in it."""
    text = system_text(content)
    return f"<system-reminder>\n{text}\n</system-reminder>" if text.strip() else ""


def _block_text(block: Block) -> str:
    return (block.text or "") if block.type == "text" else unknown_text(block)


def _without_billing(text: str) -> str:
    """The text without its accounting line. In Claude Code the line is a block of its own; a client that joins its
    blocks to one string must not lose the rest.
    """
    return text.partition("\n")[2].lstrip("\n") if text.startswith(_BILLING) else text
