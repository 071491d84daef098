"""System prompts: the one at the front, and the ones that come in the middle of a conversation.

Invariants, after vLLM's `inline_system`:
- A system message in the middle keeps its place. Moved to the front it would change the prefix that the backend has
  cached, and many chat templates refuse it where it stands: so it becomes part of the user turn that it stands in.
- It never comes between a tool call and its result.
- The block that Claude Code puts first (`x-anthropic-billing-header:`) is accounting, differs between conversations,
  and would spoil the prefix cache of all that follows: it is left out.
"""

from collections.abc import Sequence

from gateway.anthropic.request import Block

_BILLING = "x-anthropic-billing-header:"


def system_text(system: str | Sequence[Block] | None, notes: Sequence[str] = ()) -> str:
    """The system prompt as one text, blocks and notes parted by blank lines; empty when there is none."""
    texts = [system] if isinstance(system, str) else [block.text or "" for block in system or ()]
    kept = [text for text in texts if text and not text.startswith(_BILLING)]
    return "\n\n".join([*kept, *notes])


def inline_system_text(content: str | Sequence[Block]) -> str:
    """A system message of the middle as user text; empty when there is nothing in it."""
    text = system_text(content)
    return f"<system-reminder>\n{text}\n</system-reminder>" if text.strip() else ""
