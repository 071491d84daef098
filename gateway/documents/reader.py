"""The PDF documents of a conversation: their texts, and which of them have none."""

import asyncio
import sys
from collections import OrderedDict
from typing import Final

import structlog

from gateway.anthropic.request import MessagesRequest
from gateway.documents.pdf import UnreadablePDF
from gateway.documents.pool import ReaderPool
from gateway.translate.to_backend.media import Unreadable, pdf_sources

# of one conversation: documents, characters of their texts, and seconds for all that are new
_MOST_DOCUMENTS: Final = 200
_MOST_CHARACTERS: Final = 16_000_000
_MOST_SECONDS: Final = 60.0
# memory for the texts read last: a document comes again with every turn of its conversation
_KEPT_BYTES: Final = 64 * 1024 * 1024
_KEPT_DOCUMENTS: Final = 4096
_TOO_MANY: Final = Unreadable(f"only {_MOST_DOCUMENTS} documents of a conversation are read")
_TOO_LONG: Final = Unreadable("the texts of the documents before it are too long")
_TOO_LATE: Final = Unreadable("reading the documents before it took too long")

_Text = str | Unreadable

log = structlog.get_logger(__name__)


class DocumentReader:
    """Reads each document once, in a process of its own, and keeps the texts for the turns to come."""

    def __init__(self, pool: ReaderPool | None = None) -> None:
        self._pool = pool or ReaderPool()
        self._kept: OrderedDict[tuple[int, int], _Text] = OrderedDict()
        self._kept_bytes = 0

    async def read(self, request: MessagesRequest, owner: str) -> dict[str, _Text]:
        """The texts of the request's PDFs, or why one cannot be read, by their base64 data.

        `owner` is the client, with whom others take turns. What is beyond a limit is left out in the order of the
        conversation, so that its next turn leaves out the same.
        """
        texts: dict[str, _Text] = {}
        left = _MOST_CHARACTERS
        deadline = asyncio.get_running_loop().time() + _MOST_SECONDS
        for data in pdf_sources(request):
            if data in texts:
                continue
            if len(texts) >= _MOST_DOCUMENTS:
                texts[data] = _TOO_MANY
            elif left <= 0:
                texts[data] = _TOO_LONG
            else:
                text = texts[data] = await self._text(data, owner, deadline)
                left -= len(text) if isinstance(text, str) else 0
        return texts

    async def close(self) -> None:
        """End the processes, also in the middle of a document."""
        await self._pool.close()

    async def _text(self, data: str, owner: str, deadline: float) -> _Text:
        key = (hash(data), len(data))
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        text: _Text
        try:
            async with asyncio.timeout_at(deadline):
                text = await self._pool.read(data, owner)
        except TimeoutError:
            # says nothing about the document
            return _TOO_LATE
        except UnreadablePDF as error:
            log.warning("PDF document not read", reason=str(error))
            text = Unreadable(str(error))
        self._keep(key, text)
        return text

    def _keep(self, key: tuple[int, int], text: _Text) -> None:
        if (before := self._kept.pop(key, None)) is not None:
            self._kept_bytes -= _bytes(before)
        self._kept[key] = text
        self._kept_bytes += _bytes(text)
        while len(self._kept) > 1 and (self._kept_bytes > _KEPT_BYTES or len(self._kept) > _KEPT_DOCUMENTS):
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= _bytes(oldest)


def _bytes(text: _Text) -> int:
    return sys.getsizeof(text if isinstance(text, str) else text.reason)
