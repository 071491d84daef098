"""The text of a PDF."""

import base64
from typing import Any, Final

# far over what a context window holds; a hostile file must not fill the memory
MAX_PAGES: Final = 2000
MAX_CHARACTERS: Final = 4_000_000


class UnreadablePDF(Exception):
    """Not a PDF, damaged, or locked; the text says which."""


def pdf_text(data: str, *, most_pages: int = MAX_PAGES, most_characters: int = MAX_CHARACTERS) -> str:
    """The text of a base64 PDF, page by page; what was left out of it is said in the text. Raises UnreadablePDF.

    Takes milliseconds a page: run it outside the event loop. The reader is native and must be used by one thread at
    a time.
    """
    # kept out of start-up: most conversations hold no PDF
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
        pages = []
        left = most_characters
        for number in range(min(len(document), most_pages)):
            try:
                text = _page_text(document, number)
            except pypdfium2.PdfiumError:
                pages.append(f"[page {number + 1}: damaged]")
                continue
            pages.append(f"[page {number + 1}]\n{text[:left]}" if text else f"[page {number + 1}: no text]")
            left -= len(text)
            if left <= 0:
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
