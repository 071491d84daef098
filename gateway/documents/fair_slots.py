"""A limited number of slots, shared out evenly between those who want them."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """`count` slots, of which one owner holds at most `per_owner`. Owners who wait take turns."""

    def __init__(self, count: int, per_owner: int) -> None:
        self._free = count
        self._per_owner = per_owner
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def slot(self, owner: str) -> AsyncIterator[None]:
        """Hold a slot inside the block."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._share_out()
        try:
            await turn
            yield
        finally:
            if turn.cancelled():
                self._forget(owner, turn)
            else:
                self._free += 1
                self._held[owner] -= 1
                if not self._held[owner]:
                    del self._held[owner]
            self._share_out()

    def _share_out(self) -> None:
        """Give what is free to the first owners in line who may have more."""
        for owner in list(self._waiting):
            if not self._free:
                return
            if self._held[owner] >= self._per_owner:
                continue
            turns = self._waiting.pop(owner)
            turns.popleft().set_result(None)
            self._free -= 1
            self._held[owner] += 1
            if turns:
                # after all others
                self._waiting[owner] = turns

    def _forget(self, owner: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(owner)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[owner]
