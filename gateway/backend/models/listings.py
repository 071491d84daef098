"""The backend's list of models as those see it who may: everybody, or the holder of one token.

Some backends give each account a list of its own, with names that are nobody else's business. So what a client's token
fetched is shown to this token only. Tokens are not kept: a listing is found by a hash of its token, keyed with a random
key of this process.
"""

import asyncio
import os
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import structlog

from gateway.backend.adapter import Backend
from gateway.backend.models.model_list import ModelList
from gateway.translate.refusals.faults import BackendFault

# The tokens whose listings are kept, the last used ones. A listing without a list of its own takes about 1 KB.
_MOST_TOKENS: Final = 1000
# The models in all lists of tokens together, about 1 KB each; a list that several tokens have in common counts once.
_MOST_MODELS: Final = 50_000
_HASH_BYTES: Final = 16

log = structlog.get_logger(__name__)


class Listing:
    """One list, and when it was fetched. Times are those of the clock; `asked_at` also counts fetches that failed."""

    __slots__ = ("_backend", "_clock", "_fetches", "_lock", "asked_at", "fault", "fetched_at", "list", "loaded")

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._lock = asyncio.Lock()
        self._fetches = 0
        self.list = ModelList()
        self.loaded = False
        self.fetched_at = self.asked_at = float("-inf")
        # why the last fetch failed; None if it did not
        self.fault: BackendFault | None = None

    @property
    def busy(self) -> bool:
        """Whether a fetch is in progress."""
        return self._lock.locked()

    async def refresh(self, token: str | None) -> bool:
        """Fetch the list, one fetch at a time. False for a caller that waited for another's fetch instead."""
        fetches = self._fetches
        async with self._lock:
            if self._fetches != fetches:
                return False
            try:
                self.list = ModelList(await self._backend.models(token))
            except BackendFault as fault:
                self.fault = fault
                # the backend's own words may repeat the client's token
                reason = "see the backend's log" if fault.quotes else fault.message
                log.debug("model list not fetched", status=fault.status, reason=reason)
                if token and fault.status in (401, 403):
                    # a token that is no longer valid shows nothing
                    self.list, self.loaded = ModelList(), False
            else:
                self.fault, self.loaded = None, True
                self.fetched_at = self._clock()
            finally:
                self._fetches += 1
                # without a token or a list, the backend may not have been up yet: a request may ask again at once
                if token is not None or self.loaded:
                    self.asked_at = self._clock()
        return True


class PrivateListings:
    """The listings of clients' tokens, each found by its token only."""

    def __init__(self, make: Callable[[], Listing]) -> None:
        self._make = make
        self._key = os.urandom(32)
        # from the one used longest ago to the last one
        self._listings: dict[bytes, Listing] = {}

    def __len__(self) -> int:
        return len(self._listings)

    def get(self, token: str) -> Listing | None:
        """The listing of this token, if it has one."""
        if not self._listings:
            return None
        key = self._hash(token)
        listing = self._listings.pop(key, None)
        if listing is not None:
            self._listings[key] = listing
        return listing

    def of(self, token: str) -> Listing:
        """The listing of this token, which is new if it had none."""
        listing = self.get(token)
        if listing is None:
            listing = self._listings[self._hash(token)] = self._make()
            if len(self._listings) > _MOST_TOKENS:
                self._drop_oldest()
        return listing

    def fetched(self, listing: Listing, shared: ModelList) -> None:
        """Use one list for tokens with the same models, and keep within the limit."""
        lists = {id(other.list): other.list for other in self._listings.values() if other is not listing}
        for known in (shared, *lists.values()):
            if known == listing.list:
                listing.list = known
                return
        models = len(listing.list) + sum(map(len, lists.values()))
        while models > _MOST_MODELS and len(self._listings) > 1:
            self._drop_oldest()
            models = sum(map(len, {id(other.list): other.list for other in self._listings.values()}.values()))

    def _drop_oldest(self) -> None:
        del self._listings[next(iter(self._listings))]

    def _hash(self, token: str) -> bytes:
        return blake2b(token.encode(), key=self._key, digest_size=_HASH_BYTES).digest()
