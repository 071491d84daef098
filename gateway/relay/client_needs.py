"""What single clients need of a stream beyond the API, told by their `User-Agent`.

Claude Code names itself `claude-cli/2.1.330 (external, cli)`; the Agent SDKs run the same program. Seen with versions
1.0.128, 2.0.77, 2.1.197 and 2.1.330; `tests/e2e/test_claude_code_faults.py` runs them.
"""

import re
from typing import Final, NamedTuple

_CLAUDE_CODE: Final = re.compile(r"claude-(?:cli|code)/(\d{1,4})\.(\d{1,4})\.(\d{1,6})")
# versions that give up a stream after 300 s with pings only: seen of 2.1.197, and of neither 2.0.77 nor 2.1.330
_DEAF_TO_PINGS: Final = ((2, 1, 0), (2, 1, 330))


class ClientNeeds(NamedTuple):
    """`heartbeat`: only an empty `message_delta` counts as a sign of life, a ping does not; other clients take such a
    `message_delta` for the end of the answer. `drop`: after an `error` event, the connection must break for the client
    to try again; other clients report the break in place of the error.
    """

    heartbeat: bool = False
    drop: bool = False


_NONE: Final = ClientNeeds()


def needs_of(user_agent: str) -> ClientNeeds:
    """The needs of the client with this `User-Agent`."""
    match = _CLAUDE_CODE.match(user_agent)
    if match is None:
        return _NONE
    first, last = _DEAF_TO_PINGS
    version = (int(match[1]), int(match[2]), int(match[3]))
    return ClientNeeds(heartbeat=first <= version < last, drop=True)
