"""What all turns share: the parts of the gateway that read, translate, count and call the backend."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway.anthropic.tool_list_cache import KnownTools
from gateway.backend.adapter import Backend
from gateway.backend.models.catalogue import Catalogue
from gateway.documents.reader import DocumentReader
from gateway.tokens.count import TokenCounter

# above about this size, a step takes longer than handing it to a thread, and streams go on while the thread runs
_LARGE_BYTES: Final = 1024 * 1024
# a shorter body cannot hold enough of anything
_SHORT_BYTES: Final = 32 * 1024
# a string or a list takes about as long as so many bytes of text: a block of two strings takes 10 us
_BYTES_PER_VALUE: Final = 200
# one byte of so many is looked at; a random number, so that nobody can place what is dear between them
_STEP: Final = 201 + 2 * secrets.randbelow(50)

_Result = TypeVar("_Result")


def effort(body: bytes) -> int:
    """The work that a body makes, as the size in bytes of a body of long texts that makes as much.

    It is told from the number of strings and lists in a sample: counting all would cost more than some requests.
    """
    size = len(body)
    if not _SHORT_BYTES < size < _LARGE_BYTES:
        return size
    sample = body[::_STEP]
    return max(size, _BYTES_PER_VALUE * _STEP * (sample.count(b'"') // 2 + sample.count(b"[")))


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
        """Do work on a request that makes the `effort` of so many bytes: directly, or in a thread if it would hold up
        other streams.
        """
        if size < _LARGE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.large, work)
