"""Ids that clients see: unique, in Anthropic's form.

They must be unique: Claude Code merges turns that have the same message id, and loses one of two calls that share an id
(observed in 2.0.77, 2.1.197 and 2.1.330).
"""

# Ids must be unique, not secret: each number from `secrets` would cost a system call. Python reseeds this generator
# after a fork.
from random import getrandbits


def new_message_id() -> str:
    """`msg_` and 24 random hexadecimal digits."""
    return f"msg_{getrandbits(96):024x}"


def new_tool_use_id() -> str:
    """`toolu_` and 24 random hexadecimal digits."""
    return f"toolu_{getrandbits(96):024x}"


def new_mark() -> str:
    """12 random hexadecimal digits, to tell equal ids apart."""
    return f"{getrandbits(48):012x}"


def new_server_tool_use_id() -> str:
    """`srvtoolu_` and 24 random hexadecimal digits."""
    return f"srvtoolu_{getrandbits(96):024x}"


def new_request_id() -> str:
    """`req_` and 24 random hexadecimal digits."""
    return f"req_{getrandbits(96):024x}"
