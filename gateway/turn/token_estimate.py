"""How many tokens a request has: counted, being counted in a thread, or guessed."""

import asyncio
from typing import Final

from gateway.turn.backend_request import BackendRequest
from gateway.turn.context import TurnContext

# for a guess until the tokens are counted: English prose and JSON have about four characters per token
_CHARACTERS_PER_TOKEN: Final = 4


class TokenEstimate:
    """The estimate for one request. It does not keep the request."""

    __slots__ = ("_counted", "_counting", "_guess")

    def __init__(self, asked: BackendRequest, context: TurnContext) -> None:
        """Start to count the tokens, in a thread if the request is long."""
        self._guess = len(asked.body) // _CHARACTERS_PER_TOKEN
        self._counting: asyncio.Future[int] | None = None
        self._counted = context.counter.request_if_quick(asked.chat)
        if self._counted is None:
            loop = asyncio.get_running_loop()
            self._counting = loop.run_in_executor(context.counting, context.counter.request, asked.chat)

    @property
    def now(self) -> int:
        """The count if it is ready, otherwise a guess."""
        if self._counted is not None:
            return self._counted
        counting = self._counting
        if counting is not None and counting.done() and not counting.cancelled() and counting.exception() is None:
            return counting.result()
        return self._guess

    async def counted(self) -> int:
        """Wait for the count."""
        if self._counted is None and self._counting is not None:
            self._counted = await self._counting
        return self.now

    def cancel(self) -> None:
        """Cancel the count: it is no longer needed."""
        if self._counting is not None:
            self._counting.cancel()
