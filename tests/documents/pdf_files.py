"""PDFs that are made here, object by object."""

import base64
from collections.abc import Sequence


def _file(objects: Sequence[str], trailer: str = "") -> bytes:
    content = "%PDF-1.4\n"
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    for number, value in enumerate(objects, 1):
        table += f"{len(content):010} 00000 n \n"
        content += f"{number} 0 obj{value}endobj\n"
    end = f"trailer<</Size {len(objects) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{len(content)}\n%%EOF"
    return (content + table + end).encode()


def pdf(*pages: str, more_kids: Sequence[str] = (), trailer: str = "") -> bytes:
    """A PDF with a line of text on each page; an empty text makes an empty page."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>", "", "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>"
            f"/Contents {len(objects) + 2} 0 R>>"
        )
        objects.append(f"<</Length {len(stream)}>>stream\n{stream}\nendstream")
    kids += more_kids
    objects[1] = f"<</Type/Pages/Kids[{' '.join(kids)}]/Count {len(kids)}>>"
    return _file(objects, trailer)


def bomb(levels: int = 9, copies: int = 10) -> bytes:
    """A small PDF that never ends: each form draws the next one several times."""
    draws = "/X Do " * copies
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</XObject<</X 5 0 R>>>>/Contents 4 0 R>>",
        "<</Length 5>>stream\n/X Do\nendstream",
    ]
    form = "<</Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<<{}>>/Length {}>>stream\n{}\nendstream"
    objects += [form.format(f"/XObject<</X {number + 1} 0 R>>", len(draws), draws) for number in range(5, 5 + levels)]
    text = "BT /F1 12 Tf (x) Tj ET"
    objects.append(form.format("/Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>", len(text), text))
    return _file(objects)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
