"""PDF documents of a conversation, read outside the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from gateway.anthropic.request import MessagesRequest
from gateway.documents.pdf import UnreadablePDF, pdf_text
from gateway.translate.to_backend.media import Unreadable, pdf_sources

# characters of text kept from the documents read last: a document comes again with every turn of its conversation
_KEPT_CHARACTERS: Final = 32_000_000

log = structlog.get_logger(__name__)


class DocumentReader:
    """Reads each document once, one at a time: the PDF library is native and takes one thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="documents")
        self._texts: dict[tuple[int, int], str | Unreadable] = {}

    async def read(self, request: MessagesRequest) -> dict[str, str | Unreadable]:
        """By their base64 data, the texts of the request's PDFs, or why one cannot be read."""
        return {data: await self._text(data) for data in pdf_sources(request)}

    def close(self) -> None:
        """End the thread, without waiting for a document that is being read."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _text(self, data: str) -> str | Unreadable:
        key = (hash(data), len(data))
        if key not in self._texts:
            loop = asyncio.get_running_loop()
            self._texts[key] = await loop.run_in_executor(self._executor, _text_or_reason, data)
            self._shrink()
        return self._texts[key]

    def _shrink(self) -> None:
        size = sum(map(_size, self._texts.values()))
        while size > _KEPT_CHARACTERS and len(self._texts) > 1:
            size -= _size(self._texts.pop(next(iter(self._texts))))


def _text_or_reason(data: str) -> str | Unreadable:
    try:
        return pdf_text(data)
    except UnreadablePDF as error:
        log.warning("PDF document not read", reason=str(error))
        return Unreadable(str(error))


def _size(text: str | Unreadable) -> int:
    return len(text if isinstance(text, str) else text.reason)
