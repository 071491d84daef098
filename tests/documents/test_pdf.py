"""The text of PDFs that are made here, object by object."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.anthropic.decode import decode_request
from gateway.documents.pdf import UnreadablePDF, pdf_text
from gateway.translate.to_backend.media import document_text, pdf_sources
from tests.documents.pdf_files import encoded, pdf
from tests.samples import recorded_request

# a password's check value that no password has
LOCK = f"/Encrypt<</Filter/Standard/V 1/R 2/O<{'11' * 32}>/U<{'22' * 32}>/P -4>>/ID[<00><00>]"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(pdf("Hello"), "[page 1]\nHello", id="one page"),
        pytest.param(pdf("One) Tj 0 -20 Td (Two"), "[page 1]\nOne\nTwo", id="two lines"),
        pytest.param(pdf("One", "Two"), "[page 1]\nOne\n\n[page 2]\nTwo", id="two pages"),
        pytest.param(pdf("One", "", "Three"), "[page 1]\nOne\n\n[page 2: no text]\n\n[page 3]\nThree", id="empty page"),
        pytest.param(pdf("One", more_kids=["99 0 R"]), "[page 1]\nOne\n\n[page 2: damaged]", id="missing page"),
        pytest.param(pdf("One", more_kids=["3 0 R"]), "[page 1]\nOne\n\n[page 2: damaged]", id="a font for a page"),
        pytest.param(pdf("One")[:-19], "[page 1]\nOne", id="its table cannot be found"),
    ],
)
def test_text_page_by_page(content: bytes, text: str) -> None:
    assert pdf_text(encoded(content)) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(encoded(pdf("")), "it holds no text that can be read, only pictures", id="no text"),
        pytest.param(encoded(pdf("Hi", trailer=LOCK)), r"it cannot be opened \(.*Incorrect password.*\)", id="locked"),
        pytest.param(encoded(pdf("Hi")[:100]), r"it cannot be opened \(.*\)", id="cut off"),
        pytest.param(encoded(pdf()), r"it cannot be opened \(.*\)", id="no pages"),
        pytest.param(encoded(b"Hello"), r"it cannot be opened \(.*\)", id="no PDF"),
        pytest.param("", r"it cannot be opened \(.*\)", id="empty"),
        pytest.param("JVBERi0", "its data is not base64", id="cut base64"),
        pytest.param("é", "its data is not base64", id="not ASCII"),
    ],
)
def test_what_cannot_be_read_is_told(data: str, reason: str) -> None:
    with pytest.raises(UnreadablePDF, match=f"^{reason}$"):
        pdf_text(data)


def test_line_breaks_in_the_data_are_skipped() -> None:
    data = encoded(pdf("Hello"))
    assert pdf_text("\n".join(data[start : start + 76] for start in range(0, len(data), 76))) == "[page 1]\nHello"


@pytest.mark.parametrize(
    ("limits", "text", "last"),
    [
        ({"most_pages": 1}, "[page 1]\nAbcd", 1),
        ({"most_characters": 4}, "[page 1]\nAbcd", 1),
        ({"most_characters": 2}, "[page 1]\nAb", 1),
        ({"most_characters": 5}, "[page 1]\nAbcd\n\n[page 2]\nE", 2),
    ],
    ids=["pages", "characters", "inside a page", "inside the last page"],
)
def test_what_is_too_long_is_cut_and_said(limits: dict[str, int], text: str, last: int) -> None:
    note = f"[the document is too long: what follows on page {last} and after it is left out]"
    assert pdf_text(encoded(pdf("Abcd", "Efgh")), **limits) == f"{text}\n\n{note}"


def test_what_just_fits_is_not_cut() -> None:
    assert pdf_text(encoded(pdf("Abcd")), most_pages=1, most_characters=4) == "[page 1]\nAbcd"


@given(st.data())
@settings(max_examples=200, deadline=None, database=None)
def test_damage_anywhere_never_crashes(data: st.DataObject) -> None:
    content = bytearray(pdf("One", "Two"))
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=20)):
        content[place] = value
    with contextlib.suppress(UnreadablePDF):
        assert pdf_text(encoded(bytes(content))).startswith("[page 1")


def test_the_pdf_that_claude_code_sends_in_a_result() -> None:
    request = decode_request(json.dumps(recorded_request("2.1.330-pdf-in-tool-result")).encode())
    (data,) = pdf_sources(request)
    content = request.messages[-1].content
    assert isinstance(content, list)
    assert isinstance(content[0].content, list)
    document = content[0].content[1]
    assert document_text(document, {data: pdf_text(data)}) == "<document>\n[page 1]\nHello PDF\n</document>"
