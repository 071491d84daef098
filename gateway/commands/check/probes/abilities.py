"""Optional abilities beyond text and tools, and the workarounds that the gateway needed."""

import base64
import re
import struct
import zlib
from typing import Any, Final

import msgspec

from gateway.anthropic.errors import ApiError
from gateway.commands.check.asking import changes
from gateway.commands.check.rows import Finding
from gateway.commands.check.visit import Visit

_SIDE: Final = 64
_COLOUR: Final = re.compile(r"\bred\b|crimson|scarlet", re.IGNORECASE)
_SCHEMA: Final = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "words": {"type": "integer"}},
    "required": ["title", "words"],
    "additionalProperties": False,
}
_OTHER_MODEL: Final = "images become a note in the prompt; for images, use a model that accepts them: --model NAME"


def _red_square() -> str:
    """A PNG of one colour, in base64 (PNG specification, section 5, "Datastream structure")."""
    rows = (b"\0" + b"\xe0\x10\x10" * _SIDE) * _SIDE
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


async def images(visit: Visit) -> Finding:
    """Can the model see images?"""
    if not visit.asker.profile.sees_images:
        return Finding("partly", "according to the model list, this model accepts no images", _OTHER_MODEL)
    source = {"type": "base64", "media_type": "image/png", "data": _red_square()}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What colour is this image? One word."}]
    try:
        answer = await visit.asker.ask([{"role": "user", "content": content}], max_tokens=128)
    except ApiError as fault:
        return Finding(
            "bad", visit.secrets.quote(fault.message), "use a model that accepts images (--model NAME), or paste none"
        )
    if not answer.profile.sees_images:
        return Finding("partly", "this model accepts no images", _OTHER_MODEL)
    if _COLOUR.search(answer.text):
        return Finding("good", "the model named the colour of a test image")
    said = "the backend accepts an image, but the answer does not show that the model saw it"
    return Finding("unknown", said, "try one in a conversation; some servers drop images silently")


async def schema(visit: Visit) -> Finding:
    """Can the backend constrain an answer to a JSON schema?"""
    output = {"format": {"type": "json_schema", "schema": _SCHEMA}}
    answer = await visit.asker.ask("Make up a title for a short story.", max_tokens=128, output_config=output)
    if answer.finish.stop_reason == "max_tokens":
        return Finding(
            "unknown", "the answer was not complete within 128 tokens", "try a more capable model: --model NAME"
        )
    held = "response_format" not in answer.profile.drops
    fits = _fits(answer.text)
    if held and fits:
        return Finding("good", "the answer matches the schema (response_format)")
    if fits:
        return Finding(
            "partly", "response_format is refused, but the model follows the schema when the prompt states it"
        )
    said = (
        "the answer does not match the schema"
        if held
        else "response_format is refused, and the model does not follow a schema in the prompt"
    )
    return Finding(
        "partly", said, "session titles may be odd; programs that use an SDK need a server with guided decoding"
    )


def _fits(text: str) -> bool:
    try:
        value: Any = msgspec.json.decode(text.strip().removeprefix("```json").strip("` \n"))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("title"), str) and isinstance(value.get("words"), int)


async def workarounds(visit: Visit) -> Finding:
    """What the backend refused, and the gateway learnt to omit or to send differently."""
    learnt = changes(visit.first_profile, visit.asker.profile)
    if not learnt:
        return Finding("good", "the backend refused nothing")
    said = f"refused, then sent differently: {visit.secrets.quote(', '.join(learnt))}"
    return Finding("partly", said, "nothing to do: the gateway learns this from its first request", {"learnt": learnt})
