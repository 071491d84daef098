"""PDF documents of a conversation, read outside the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from gateway.anthropic.request import MessagesRequest
from gateway.translate.media import pdf_sources
from gateway.translate.pdf import UnreadablePDF, pdf_text

# characters of text kept from the documents read last: a document comes again with every turn of its conversation
_KEPT_CHARACTERS: Final = 32_000_000

log = structlog.get_logger(__name__)


class DocumentReader:
    """Reads each document once, one at a time: the PDF library is native and takes one thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="documents")
        self._texts: dict[tuple[int, int], str | None] = {}

    async def read(self, request: MessagesRequest) -> dict[str, str]:
        """The texts of the request's PDFs by their base64 data; those that cannot be read are left out."""
        texts = {}
        for data in pdf_sources(request):
            text = await self._text(data)
            if text is not None:
                texts[data] = text
        return texts

    def close(self) -> None:
        """End the thread, without waiting for a document that is being read."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _text(self, data: str) -> str | None:
        key = (hash(data), len(data))
        if key not in self._texts:
            loop = asyncio.get_running_loop()
            self._texts[key] = await loop.run_in_executor(self._executor, _text_or_none, data)
            self._shrink()
        return self._texts[key]

    def _shrink(self) -> None:
        size = sum(len(text or "") for text in self._texts.values())
        while size > _KEPT_CHARACTERS and len(self._texts) > 1:
            size -= len(self._texts.pop(next(iter(self._texts))) or "")


def _text_or_none(data: str) -> str | None:
    try:
        return pdf_text(data)
    except UnreadablePDF as error:
        log.warning("PDF document not read", reason=str(error))
        return None
