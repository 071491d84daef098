"""When a call that failed is made again: only before the client has any of the answer, and only where the backend has
not worked on the request: it never got it, or it says when to ask again.
"""

import random
from typing import Final

from msgspec import Struct

from gateway.translate.refusals.faults import BackendFault

# the first pause without a `retry-after`; each further one is twice as long
_FIRST_SECONDS: Final = 0.25
# statuses of an answer that may name a moment to ask again; 529 is a 503 as clients get it
_WITH_RETRY_AFTER: Final = frozenset({429, 502, 504, 529})


class RetryPolicy(Struct, frozen=True):
    """How often, and how long in all (seconds since the first try), a call may be made again."""

    retries: int = 2
    seconds: float = 5.0

    def pause(self, fault: BackendFault, tries: int, spent: float) -> float | None:
        """The seconds until the next try, spread so that many clients do not come at once; None where there is none.

        `tries`: how many were made; `spent`: seconds since the first.
        """
        if tries > self.retries:
            return None
        pause: float = _FIRST_SECONDS * 2 ** (tries - 1)
        if fault.retry_after is not None and fault.status in _WITH_RETRY_AFTER:
            # never before the named moment
            pause = max(pause, fault.retry_after) * (1 + random.random() / 10)  # noqa: S311  # guards nothing
        elif not fault.taken:
            pause *= 0.5 + random.random()  # noqa: S311  # guards nothing
        else:
            return None
        return pause if spent + pause <= self.seconds else None
