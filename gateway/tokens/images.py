"""Token counts of images, by their size in pixels."""

import base64
import io
from typing import Final

import imagesize

# Anthropic's rule: width x height / 750, after scaling down to _LONGEST_EDGE
# (https://docs.claude.com/en/docs/build-with-claude/vision, "Evaluate image size")
_PIXELS_PER_TOKEN: Final = 750
_LONGEST_EDGE: Final = 1568
_MOST: Final = 1600
# enough base64 characters for the header of any format; JPEG stores the size after its metadata
_HEAD_CHARACTERS: Final = 4 * 32 * 1024


def image_tokens(url: str) -> int:
    """The token count of an image in a data URL; the maximum if its size cannot be read."""
    _, comma, data = url.partition(";base64,")
    if not comma:
        return _MOST
    head = data[:_HEAD_CHARACTERS]
    try:
        width, height = (int(size) for size in imagesize.get(io.BytesIO(base64.b64decode(head[: len(head) // 4 * 4]))))
        if width <= 0 or height <= 0:
            return _MOST
        scale = min(1.0, _LONGEST_EDGE / max(width, height))
        return max(1, min(_MOST, round(width * scale * height * scale / _PIXELS_PER_TOKEN)))
    except (ValueError, OverflowError):
        # not base64, not an image, or a size too large for a float
        return _MOST
