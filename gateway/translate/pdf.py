"""The text of a PDF."""

import base64
import binascii
from typing import Final

# far over what a context window holds; a hostile file must not fill the memory
MAX_PAGES: Final = 2000
MAX_CHARACTERS: Final = 4_000_000


class UnreadablePDF(Exception):
    """Not a PDF, damaged, or locked; the text says which."""


def pdf_text(data: str) -> str:
    """The text of a base64 PDF, page by page. Raises UnreadablePDF.

    Takes milliseconds a page: run it outside the event loop. The reader is native and must be used by one thread at
    a time.
    """
    # kept out of start-up: most conversations hold no PDF
    import pypdfium2

    try:
        content = base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError):
        raise UnreadablePDF("its data is not base64") from None
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        raise UnreadablePDF(f"it cannot be opened ({error})") from None
    with document:
        pages = []
        left = MAX_CHARACTERS
        for number in range(min(len(document), MAX_PAGES)):
            page = document[number]
            text = page.get_textpage().get_text_bounded().replace("\r\n", "\n").strip()[:left]
            page.close()
            left -= len(text)
            pages.append(f"[page {number + 1}]\n{text}")
            if left <= 0:
                break
    if left == MAX_CHARACTERS:
        raise UnreadablePDF("it holds no text, only pictures")
    return "\n\n".join(pages)
