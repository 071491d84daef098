"""Images, documents and foreign blocks as parts of a message."""

import base64
import json
from typing import Any

import pytest
from msgspec import structs

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import Block, MessagesRequest
from gateway.openai.profile import GENERIC
from gateway.translate.to_backend.media import (
    Unreadable,
    compaction_text,
    document_text,
    image_part,
    pdf_sources,
    search_result_text,
    server_block_text,
    unknown_text,
)

Json = dict[str, Any]

PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
TEXTS = {
    "JVBERi0=": "[page 1]\nHello",
    "bm8=": Unreadable("it holds no text that can be read, only pictures"),
}
ELSEWHERE = "files kept on Anthropic's servers cannot be read here"


def request(*messages: Json) -> MessagesRequest:
    return decode_request(json.dumps({"model": "m", "max_tokens": 1, "messages": messages}).encode())


def block(value: Json) -> Block:
    """A block as it comes off the wire."""
    content = request({"role": "user", "content": [value]}).messages[0].content
    assert isinstance(content, list)
    return content[0]


def base64_of(text: bytes) -> str:
    return base64.b64encode(text).decode()


# images


@pytest.mark.parametrize(
    ("source", "url"),
    [
        pytest.param(
            {"type": "base64", "media_type": "image/webp", "data": "aGk="}, "data:image/webp;base64,aGk=", id="base64"
        ),
        pytest.param({"type": "base64", "data": "aGk="}, "data:image/png;base64,aGk=", id="no media type"),
        pytest.param({"type": "url", "url": "https://x.test/a.png"}, "https://x.test/a.png", id="url"),
    ],
)
def test_an_image_becomes_a_url(source: Json, url: str) -> None:
    part = image_part(block({"type": "image", "source": source}).source, sees_images=True)
    assert part == {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    ("image", "why"),
    [
        pytest.param({"source": {"type": "file", "file_id": "file_1"}}, ELSEWHERE, id="file"),
        pytest.param({"source": {"type": "base64", "data": ""}}, "its source is empty", id="empty"),
        pytest.param({"source": {}}, "its source is empty", id="no fields"),
        pytest.param({}, "it has no source", id="no source"),
        pytest.param({"source": "a.png"}, "it has no source", id="source is a string"),
    ],
)
def test_an_image_that_cannot_be_read_is_noted(image: Json, why: str) -> None:
    part = image_part(block({"type": "image", **image}).source, sees_images=True)
    assert part == {"type": "text", "text": f"[image left out: {why}]"}


def test_a_model_that_does_not_see_gets_a_note() -> None:
    source = block({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}).source
    assert image_part(source, sees_images=False) == {
        "type": "text",
        "text": "[image left out: this model does not take images]",
    }


# documents


@pytest.mark.parametrize(
    ("source", "body"),
    [
        pytest.param(PDF, "[page 1]\nHello", id="PDF"),
        pytest.param({"type": "text", "media_type": "text/plain", "data": "a\nb"}, "a\nb", id="text"),
        pytest.param({"type": "text", "data": ""}, "", id="empty text"),
        pytest.param({"type": "content", "content": "a"}, "a", id="content string"),
        pytest.param(
            {
                "type": "content",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image", "source": {"type": "url", "url": "https://x.test"}},
                ],
            },
            "a\n\n[image left out: it cannot be passed on to this model]",
            id="content blocks",
        ),
        pytest.param({"type": "content"}, "", id="no content"),
        pytest.param(
            {"type": "base64", "media_type": "text/csv", "data": base64_of("a,é\n".encode())}, "a,é\n", id="base64 text"
        ),
        pytest.param({"type": "base64", "data": base64_of(b"a")}, "a", id="base64 without a media type"),
    ],
)
def test_a_document_as_text(source: Json, body: str) -> None:
    assert document_text(block({"type": "document", "source": source}), TEXTS) == f"<document>\n{body}\n</document>"


def test_a_document_with_title_and_context() -> None:
    document = block(
        {
            "type": "document",
            "source": PDF,
            "title": "Report",
            "context": "Of last year.",
            "citations": {"enabled": True},
        }
    )
    assert document_text(document, TEXTS) == (
        '<document title="Report">\nOf last year.\n\n[page 1]\nHello\n</document>'
    )


@pytest.mark.parametrize(
    ("document", "note"),
    [
        pytest.param(
            {"source": {"type": "url", "url": "https://x.test/a.pdf"}},
            "[document left out: this gateway fetches no URL (https://x.test/a.pdf)]",
            id="url",
        ),
        pytest.param(
            {"source": {"type": "url", "url": "https://x.test/" + "a" * 500}},
            f"[document left out: this gateway fetches no URL (https://x.test/{'a' * 185})]",
            id="long url",
        ),
        pytest.param(
            {"source": {"type": "file", "file_id": "file_1"}, "title": "Report"},
            f'[document "Report" left out: {ELSEWHERE}]',
            id="file, with a title",
        ),
        pytest.param(
            {"source": {**PDF, "data": "bm8="}},
            "[document left out: the PDF cannot be read: it holds no text that can be read, only pictures]",
            id="PDF without text",
        ),
        pytest.param(
            {"source": {**PDF, "data": "bmV3"}},
            "[document left out: the PDF cannot be read: it is not at hand]",
            id="PDF that nobody read",
        ),
        pytest.param(
            {"source": {"type": "base64", "media_type": "application/zip", "data": base64_of(b"PK\xff")}},
            "[document left out: application/zip cannot be read as text]",
            id="binary",
        ),
        pytest.param(
            {"source": {"type": "base64", "data": "no base64"}},
            "[document left out: its type cannot be read as text]",
            id="no base64",
        ),
        pytest.param({"source": {"type": "base64"}}, "[document left out: its source is empty]", id="empty"),
        pytest.param({}, "[document left out: it has no source]", id="no source"),
    ],
)
def test_a_document_that_cannot_be_read_is_noted(document: Json, note: str) -> None:
    assert document_text(block({"type": "document", **document}), TEXTS) == note


def test_the_pdfs_of_a_conversation_are_found() -> None:
    def pdf(data: str) -> Json:
        return {"type": "document", "source": {**PDF, "data": data}}

    conversation = request(
        {"role": "user", "content": "Read these."},
        {"role": "user", "content": [pdf("one"), {"type": "text", "text": "and"}, pdf("two")]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}, pdf("three")]},
                {"type": "tool_result", "tool_use_id": "b", "content": "text"},
                {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "no PDF"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}},
                {"type": "document"},
                {"type": "image", "source": {**PDF, "data": "no document"}},
                pdf("one"),
            ],
        },
    )
    assert list(pdf_sources(conversation)) == ["one", "two", "three", "one"]


# other blocks


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"title": "T", "source": "s", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
            "[search result] T (s)\nA\nB",
        ),
        ({"source": "s", "content": []}, "[search result] (s)"),
        ({"content": "A"}, "[search result]\nA"),
        ({}, "[search result]"),
    ],
    ids=["whole", "no title", "no source", "empty"],
)
def test_a_search_result(fields: Json, expected: str) -> None:
    assert search_result_text(block({"type": "search_result", **fields})) == expected


def test_an_unknown_block_is_named() -> None:
    assert unknown_text(Block(type="of_the_future")) == (
        "[of_the_future left out: it cannot be passed on to this model]"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [("We built it.", "We built it."), ([{"type": "text", "text": "We built it."}], "We built it."), (None, "")],
    ids=["string", "blocks", "null"],
)
def test_the_summary_of_a_compaction_is_kept(content: Any, expected: str) -> None:
    summary = block({"type": "compaction", "content": content})
    assert compaction_text(summary) == f"[summary of the conversation so far]\n{expected}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
            '[web_search was called on the server with {"query": "x"}]',
            id="call",
        ),
        pytest.param(
            {"type": "mcp_tool_use", "id": "s"}, "[mcp_tool_use was called on the server with {}]", id="bare call"
        ),
        pytest.param(
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s",
                "content": [
                    {"type": "web_search_result", "url": "https://x.test", "title": "X", "encrypted_content": "…"},
                    {"type": "web_search_result", "title": "Y", "text": "why"},
                    {"type": "web_search_result", "url": "https://z.test"},
                ],
            },
            "[web_search_tool_result]\nX\nY why\n[web_search_result left out: it cannot be passed on to this model]",
            id="search",
        ),
        pytest.param(
            {
                "type": "web_search_tool_result",
                "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
            },
            "[web_search_tool_result]\nmax_uses_exceeded",
            id="error",
        ),
        pytest.param(
            {
                "type": "web_fetch_tool_result",
                "content": {
                    "type": "web_fetch_result",
                    "url": "https://x.test",
                    "content": {
                        "type": "document",
                        "title": "X",
                        "source": {"type": "text", "media_type": "text/plain", "data": "The page."},
                    },
                    "retrieved_at": "2026-01-01T00:00:00Z",
                },
            },
            "[web_fetch_tool_result]\nhttps://x.test\nX\nThe page.",
            id="page",
        ),
        pytest.param(
            {
                "type": "web_fetch_tool_result",
                "content": {"url": 5, "content": {"source": {"type": "base64", "data": "JVBERi0="}}},
            },
            "[web_fetch_tool_result]",
            id="page that is no text",
        ),
        pytest.param(
            {"type": "web_fetch_tool_result", "content": {"content": {"source": "x"}}},
            "[web_fetch_tool_result]",
            id="page without a source",
        ),
        pytest.param(
            {"type": "mcp_tool_result", "is_error": True, "content": "It broke."},
            "[mcp_tool_result: error]\nIt broke.",
            id="failed call",
        ),
        pytest.param(
            {"type": "mcp_tool_result", "is_error": False, "content": [{"type": "text", "text": "Done."}]},
            "[mcp_tool_result]\nDone.",
            id="result as blocks",
        ),
        pytest.param({"type": "mcp_tool_result"}, "[mcp_tool_result]", id="empty result"),
    ],
)
def test_what_servers_did_is_told(value: Json, expected: str) -> None:
    assert server_block_text(block(value)) == expected


@pytest.mark.parametrize(
    ("media_type", "data", "url"),
    [
        ("image/png", "data:image/jpeg;base64,aGk=", "data:image/jpeg;base64,aGk="),
        ("image/png", "a\nG\r\nk=", "data:image/png;base64,aGk="),
        ("image/png", "-_-_", "data:image/png;base64,+/+/"),
        ("image/png", "aGk", "data:image/png;base64,aGk="),
        ("image/png", "/9j/4AAQ", "data:image/jpeg;base64,/9j/4AAQ"),
        (None, "UklGRAAA", "data:image/webp;base64,UklGRAAA"),
    ],
    ids=["a data URL", "line ends", "for URLs", "no padding", "another type", "no type"],
)
def test_image_data_are_put_right(media_type: str | None, data: str, url: str) -> None:
    source = block({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}).source
    assert image_part(source, sees_images=True) == {"type": "image_url", "image_url": {"url": url}}


def test_images_that_a_backend_does_not_take_are_told() -> None:
    webp = block({"type": "image", "source": {"type": "base64", "data": "UklGRAAA"}}).source
    url = block({"type": "image", "source": {"type": "url", "url": "https://h/i.png"}}).source
    profile = structs.replace(GENERIC, image_types=frozenset({"image/png"}), fetches_images=False)
    assert image_part(webp, sees_images=True, profile=profile) == {
        "type": "text",
        "text": "[image left out: this model does not take image/webp]",
    }
    assert image_part(url, sees_images=True, profile=profile) == {
        "type": "text",
        "text": "[image left out: this model fetches no URL (https://h/i.png)]",
    }
