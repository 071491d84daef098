"""Token counts of images, by their size in pixels.

The bytes come from clients and are read in the event loop, so the work on them is bounded: the formats that Anthropic's
API takes are told by their first bytes, and no other is looked into.
"""

import base64
import io
import re
import struct
from typing import Final

import imagesize

# Anthropic's rule: width x height / 750, after scaling down to _LONGEST_EDGE
# (https://docs.claude.com/en/docs/build-with-claude/vision, "Evaluate image size")
_PIXELS_PER_TOKEN: Final = 750
_LONGEST_EDGE: Final = 1568
_MOST: Final = 1600
# these store the size within their first 30 bytes
_PLAIN: Final = (b"\x89PNG", b"GIF8", b"RIFF")
_PLAIN_CHARACTERS: Final = 4 * 16
# JPEG stores it after its metadata
_JPEG: Final = b"\xff\xd8"
_JPEG_CHARACTERS: Final = 4 * 32 * 1024
# a segment of a JPEG: its marker behind fill bytes, and its length with these two bytes (ITU-T T.81, B.1.1)
_SEGMENT: Final = re.compile(rb"\xff++([^\x00\xff])(..)", re.DOTALL)
# start-of-frame markers, whose segments hold the size (ITU-T T.81, table B.1)
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# profiles and previews take some ten segments
_MOST_SEGMENTS: Final = 500


def image_tokens(url: str) -> int:
    """The token count of an image in a data URL; the maximum if its size cannot be read."""
    _, comma, data = url.partition(";base64,")
    if not comma:
        return _MOST
    try:
        width, height = _size(data)
        if width <= 0 or height <= 0:
            return _MOST
        scale = min(1.0, _LONGEST_EDGE / max(width, height))
        return max(1, min(_MOST, round(width * scale * height * scale / _PIXELS_PER_TOKEN)))
    except (ValueError, OverflowError):
        # not base64, not an image, or a size too large for a float
        return _MOST


def _size(data: str) -> tuple[int, int]:
    """Width and height of an image in base64. Raises ValueError."""
    head = _decoded(data[:_PLAIN_CHARACTERS])
    if head.startswith(_JPEG):
        return _jpeg_size(_decoded(data[:_JPEG_CHARACTERS]))
    if not head.startswith(_PLAIN):
        raise ValueError("no known format")
    width, height = imagesize.get(io.BytesIO(head))
    return int(width), int(height)


def _decoded(data: str) -> bytes:
    return base64.b64decode(data[: len(data) // 4 * 4])


def _jpeg_size(head: bytes) -> tuple[int, int]:
    at = len(_JPEG)
    for _ in range(_MOST_SEGMENTS):
        segment = _SEGMENT.match(head, at)
        if segment is None:
            break
        if segment[1][0] in _FRAMES:
            size = head[segment.end() + 1 : segment.end() + 5]
            if len(size) < 4:
                break
            height, width = struct.unpack(">HH", size)
            return width, height
        at = segment.end() - 2 + max(2, int.from_bytes(segment[2], "big"))
    raise ValueError("no frame")
