"""Images, documents and the blocks around them, as parts of a chat message.

Content that the backend cannot receive (a file on Anthropic's servers, a document at a URL, an image for a model
without vision) becomes a note in the prompt: the request is not refused, and nothing is dropped silently.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.anthropic.request import Block, MessagesRequest, Source
from gateway.anthropic.tool_changes import changed_name
from gateway.openai.profile import GENERIC, Profile
from gateway.openai.request import ImagePart, Part, Text, TextPart

PDF: Final = "application/pdf"
_BLIND_NOTE: Final = "[image left out: this model does not take images]"
_ELSEWHERE: Final = "files kept on Anthropic's servers cannot be read here"


# how the base64 data of images begin
_IMAGE_MARKS: Final = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)
_IMAGE_TYPES: Final = frozenset(kind for _, kind in _IMAGE_MARKS)


class Unreadable(Struct, frozen=True):
    """The reason why a document has no text: a clause that follows "the PDF cannot be read:"."""

    reason: str


# the texts of PDF documents by their base64 data; read before translation, because reading is slow
Documents = Mapping[str, str | Unreadable]


def text_part(text: Text) -> TextPart:
    """A text part."""
    return {"type": "text", "text": text}


def image_part(source: Source | str | None, *, sees_images: bool, profile: Profile = GENERIC) -> Part:
    """An image part, or a note if the image cannot be passed on. `profile`: which images the backend takes."""
    if not isinstance(source, Source):
        return text_part("[image left out: it has no source]")
    if not sees_images:
        return text_part(_BLIND_NOTE)
    if source.data:
        media_type, data = _image_data(source.media_type, source.data)
        if profile.image_types is not None and media_type not in profile.image_types:
            return text_part(f"[image left out: this model does not take {media_type}]")
        part: ImagePart = {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}
        return part
    if source.url and not profile.fetches_images and not source.url.startswith("data:"):
        return text_part(f"[image left out: this model fetches no URL ({source.url[:200]})]")
    if source.url:
        return {"type": "image_url", "image_url": {"url": source.url}}
    return text_part(f"[image left out: {_ELSEWHERE if source.file_id else 'its source is empty'}]")


def _image_data(media_type: str | None, data: str) -> tuple[str, str]:
    """An image's type and its base64 data as backends read them: without the beginning of a data URL, without line
    ends, in the standard alphabet, padded; and with the type that the data tell.
    """
    if data[:5] == "data:":
        head, _, data = data.partition(",")
        media_type = head[5:].partition(";")[0] or media_type
    if any(blank in data for blank in "\n\r\t "):
        data = "".join(data.split())
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    if missing := -len(data) % 4:
        data += "=" * missing
    if media_type is None or media_type in _IMAGE_TYPES:
        media_type = next((kind for mark, kind in _IMAGE_MARKS if data.startswith(mark)), media_type)
    return media_type or "image/png", data


def document_text(block: Block, documents: Documents) -> str:
    """A document as text: its own text, the text of its PDF, or a note on why there is none."""
    source = block.source
    body = _document_body(source, documents) if isinstance(source, Source) else None
    if body is None:
        return f"[document {_named(block)}left out: {_why(source, documents)}]"
    title = f' title="{block.title}"' if block.title else ""
    context = f"{block.context}\n\n" if block.context else ""
    return f"<document{title}>\n{context}{body}\n</document>"


def search_result_text(block: Block) -> str:
    """A search result as text: title, source and contents."""
    source = block.source if isinstance(block.source, str) else ""
    head = " ".join(part for part in (block.title or "", f"({source})" if source else "") if part)
    return "\n".join(part for part in (f"[search result] {head}".rstrip(), _texts(block)) if part)


def unknown_text(block: Block) -> str:
    """A note on a block that chat completions cannot express."""
    return f"[{block.type} left out: it cannot be passed on to this model]"


def pdf_sources(request: MessagesRequest) -> Iterator[str]:
    """The base64 data of every PDF in the conversation, in order."""
    for message in request.messages:
        if not isinstance(message.content, list):
            continue
        for block in message.content:
            if block.type == "document":
                yield from _pdf_data(block)
            elif isinstance(block.content, list):
                for item in block.content:
                    if item.type == "document":
                        yield from _pdf_data(item)


def _pdf_data(document: Block) -> Iterator[str]:
    source = document.source
    if isinstance(source, Source) and source.data and source.media_type == PDF:
        yield source.data


def _document_body(source: Source, documents: Documents) -> str | None:
    if source.type == "content" or source.content is not None:
        if isinstance(source.content, list):
            return "\n\n".join(_text_or_note(block) for block in source.content)
        return source.content or ""
    if source.data is None:
        return None
    if source.type == "text":
        return source.data
    if source.media_type == PDF:
        text = documents.get(source.data)
        return text if isinstance(text, str) else None
    return _decoded_text(source)


def _decoded_text(source: Source) -> str | None:
    """The decoded data if it is UTF-8 text (`text/csv`, `application/json`), otherwise None."""
    try:
        return base64.b64decode(source.data or "", validate=True).decode()
    except ValueError:
        return None


def _why(source: Source | str | None, documents: Documents) -> str:
    if not isinstance(source, Source):
        return "it has no source"
    if source.url:
        return f"this gateway fetches no URL ({source.url[:200]})"
    if source.file_id:
        return _ELSEWHERE
    if source.data is None:
        return "its source is empty"
    if source.media_type == PDF:
        found = documents.get(source.data)
        return f"the PDF cannot be read: {found.reason if isinstance(found, Unreadable) else 'it is not at hand'}"
    return f"{source.media_type or 'its type'} cannot be read as text"


def _named(block: Block) -> str:
    return f'"{block.title}" ' if block.title else ""


def _texts(block: Block) -> str:
    if isinstance(block.content, list):
        return "\n".join(filter(None, map(_text_or_note, block.content)))
    return block.content if isinstance(block.content, str) else ""


def _text_or_note(block: Block) -> str:
    return (block.text or "") if block.type == "text" else unknown_text(block)


def tool_change_text(block: Block) -> str:
    """A line at the place where a tool is added or removed; the list of tools is that of the conversation's end."""
    name = changed_name(block.tool) if block.tool else ""
    return f"[from here on, {name} is {'available' if block.type == 'tool_addition' else 'not available'}]"


def browser_state_text(block: Block) -> str:
    """The tabs of a browser, one on each line, and what else an action changed."""
    tabs = [tab for tab in _values(block.tabs) if isinstance(tab, dict)]
    lines = ["[browser: no tab is open]" if not tabs else "[browser tabs]"]
    for tab in tabs:
        active = " (active)" if tab.get("active") is True else ""
        lines.append(
            f"{tab.get('tab_id', '')}{active}: {tab.get('title') or 'untitled'} {tab.get('url') or ''}".rstrip()
        )
    lines += [msgspec.json.encode(change).decode() for change in _values(block.state_changes)]
    return "\n".join(lines)


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def compaction_text(block: Block) -> str:
    """The summary with which Anthropic's servers replaced the earlier conversation."""
    return f"[summary of the conversation so far]\n{_texts(block)}"


def server_block_text(block: Block) -> str:
    """A note on what Anthropic's servers did in an imported conversation, with any text in the block."""
    if block.type in ("server_tool_use", "mcp_tool_use"):
        return f"[{block.name or block.type} was called on the server with {bytes(block.input).decode() or '{}'}]"
    head = f"[{block.type}: error]" if block.is_error else f"[{block.type}]"
    return "\n".join(filter(None, (head, *_server_texts(block.content))))


def _server_texts(content: str | list[Block] | dict[str, Any] | None) -> Iterator[str]:
    """The texts in a server tool's result: a string, items with title and text, or an object (an error or a page)."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        page = content.get("content")
        page = page if isinstance(page, dict) else {}
        source = page.get("source")
        text = source.get("data") if isinstance(source, dict) and source.get("type") == "text" else None
        values = (content.get("error_code"), content.get("url"), page.get("title"), text)
        yield from (value for value in values if isinstance(value, str))
    else:
        for item in content or ():
            yield " ".join(filter(None, (item.title, item.text))) or unknown_text(item)
