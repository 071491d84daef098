"""What all turns share: the parts of the gateway that read, translate, count and call the backend."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway.anthropic.known_tools import KnownTools
from gateway.backend.adapter import Backend
from gateway.backend.models.catalogue import Catalogue
from gateway.documents.reader import DocumentReader
from gateway.tokens.count import TokenCounter

# above about this size, a step takes longer than handing it to a thread, and streams go on while the thread runs
_LARGE_BYTES: Final = 1024 * 1024

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class TurnContext:
    """The shared parts. `counting` runs token counts outside the event loop; `large` handles large requests, one at a
    time.
    """

    backend: Backend
    catalogue: Catalogue
    documents: DocumentReader
    known_tools: KnownTools
    counter: TokenCounter
    counting: Executor
    large: Executor

    async def run(self, size: int, work: Callable[[], _Result]) -> _Result:
        """Do work on a request of `size` bytes: directly, or in a thread if it would hold up other streams."""
        if size < _LARGE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.large, work)
