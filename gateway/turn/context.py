"""What turns share: the parts of the gateway that read, translate, count and ask."""

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

# from about here on, a step takes longer than handing it to a thread, between whose bytecodes streams go on
_LARGE_BYTES: Final = 1024 * 1024

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class TurnContext:
    """`counting` runs token counts outside the event loop, `large` the work on large requests, one at a time."""

    backend: Backend
    catalogue: Catalogue
    documents: DocumentReader
    known_tools: KnownTools
    counter: TokenCounter
    counting: Executor
    large: Executor

    async def run(self, size: int, work: Callable[[], _Result]) -> _Result:
        """Do work on a request of `size` bytes: at once, or in a thread where other streams would have to wait."""
        if size < _LARGE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.large, work)
