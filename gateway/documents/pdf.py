"""The text of a PDF."""

import base64
import time
from typing import Any, Final

# far more than a context window holds
MOST_PAGES: Final = 2000
MOST_CHARACTERS: Final = 4_000_000
# of processor time; thousands of ordinary pages take less
MOST_SECONDS: Final = 10.0


class UnreadablePDF(Exception):
    """Not a PDF, damaged, or locked; the text says which."""


def pdf_text(
    data: str | bytes,
    *,
    most_pages: int = MOST_PAGES,
    most_characters: int = MOST_CHARACTERS,
    most_seconds: float = MOST_SECONDS,
) -> str:
    """The text of a base64 PDF, page by page; a note in it says what was left out. Raises UnreadablePDF.

    PDFium is native code that a hostile file can keep busy for ever within one page, or crash. It therefore runs in a
    process of its own (`gateway.documents.child`).
    """
    import pypdfium2

    try:
        content = base64.b64decode(data, validate=False)
    except ValueError:
        raise UnreadablePDF("its data is not base64") from None
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        raise UnreadablePDF(f"it cannot be opened ({error})") from None
    with document:
        pages: list[str] = []
        left, deadline = most_characters, time.process_time() + most_seconds
        for number in range(min(len(document), most_pages)):
            try:
                text = _page_text(document, number)
            except pypdfium2.PdfiumError:
                pages.append(f"[page {number + 1}: damaged]")
                continue
            pages.append(f"[page {number + 1}]\n{text[:left]}" if text else f"[page {number + 1}: no text]")
            left -= len(text)
            if left <= 0 or time.process_time() > deadline:
                break
        if left == most_characters:
            raise UnreadablePDF("it holds no text that can be read, only pictures")
        if left < 0 or len(pages) < len(document):
            pages.append(f"[the document is too long: what follows on page {len(pages)} and after it is left out]")
    return "\n\n".join(pages)


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    try:
        text: str = page.get_textpage().get_text_bounded()
    finally:
        page.close()
    return text.replace("\r\n", "\n").strip()
