"""Ids that clients see: unique, in Anthropic's form.

Claude Code merges turns whose message ids are equal and loses one of two calls with one id (research/claude-code.md,
section 2).
"""

# Ids are to be unique, not secret: the system's random numbers cost a call into the kernel each. These begin anew after
# a fork.
from random import getrandbits


def new_message_id() -> str:
    """`msg_` and 24 random hexadecimal digits."""
    return f"msg_{getrandbits(96):024x}"


def new_tool_use_id() -> str:
    """`toolu_` and 24 random hexadecimal digits."""
    return f"toolu_{getrandbits(96):024x}"


def new_request_id() -> str:
    """`req_` and 24 random hexadecimal digits."""
    return f"req_{getrandbits(96):024x}"
