"""Ids that clients see: unique, in Anthropic's form.

Claude Code merges turns whose message ids are equal and loses one of two calls with one id (research/claude-code.md,
section 2).
"""

import secrets


def new_message_id() -> str:
    """`msg_` and 24 random hexadecimal digits."""
    return f"msg_{secrets.token_hex(12)}"


def new_tool_use_id() -> str:
    """`toolu_` and 24 random hexadecimal digits."""
    return f"toolu_{secrets.token_hex(12)}"


def new_request_id() -> str:
    """`req_` and 24 random hexadecimal digits."""
    return f"req_{secrets.token_hex(12)}"
