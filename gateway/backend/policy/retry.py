"""When a failed call is retried: only before the client has received any of the answer, and only if the backend has not
worked on the request: it never received it, or it says when to try again.
"""

import random
from typing import Final

from msgspec import Struct

from gateway.translate.refusals.faults import BackendFault

# the first pause without a `retry-after`; each further pause is twice as long
_FIRST_SECONDS: Final = 0.25
# statuses whose `retry-after` is honoured; clients get a 503 as 529
_WITH_RETRY_AFTER: Final = frozenset({429, 502, 504, 529})


class RetryPolicy(Struct, frozen=True):
    """How often a call may be retried, and how long in all (seconds since the first attempt)."""

    retries: int = 2
    seconds: float = 5.0

    def pause(self, fault: BackendFault, tries: int, spent: float) -> float | None:
        """The seconds until the next attempt, spread so that many clients do not come at once; None for no retry.

        `tries`: the attempts made so far; `spent`: the seconds since the first.
        """
        if tries > self.retries:
            return None
        pause: float = _FIRST_SECONDS * 2 ** (tries - 1)
        if fault.retry_after is not None and fault.status in _WITH_RETRY_AFTER:
            # never earlier than the backend asked for
            pause = max(pause, fault.retry_after) * (1 + random.random() / 10)  # noqa: S311  # guards nothing
        elif not fault.taken:
            pause *= 0.5 + random.random()  # noqa: S311  # guards nothing
        else:
            return None
        return pause if spent + pause <= self.seconds else None
