"""How much one answer may hold, and the fault for one that holds more.

No model answers with nearly as much. Each limit keeps the work for one event, or what is kept of an answer, small.
"""

from typing import Final

from gateway.translate.refusals.faults import BackendFault

MIB: Final = 1024 * 1024
# Models are given some hundred tools at most, and call a few of them at a time.
CALLS: Final = 1024
# Arguments of all calls together, in characters: the longest answers of models have less than 1 Mi tokens.
ARGUMENTS: Final = 16 * MIB
# Tools' names have at most 128 characters.
NAME: Final = 4096
# Choices, of which one is asked for, and parts of one content.
ITEMS: Final = 4096


def too_large(what: str) -> BackendFault:
    """The fault for an answer beyond a limit; `what` it sent is "more than …"."""
    text = f"the backend's answer is larger than it may be: it sent {what}; check the backend's log"
    return BackendFault(502, text, should_retry=False)
