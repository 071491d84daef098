"""Tokens of images by their size, read from headers that are made here."""

import base64
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.tokens.images import image_tokens

MOST = 1600


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII5B", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(3)


def jpeg(width: int, height: int, *, metadata: int = 0) -> bytes:
    behind = b"\xff\xe1" + struct.pack(">H", metadata + 2) + bytes(metadata) if metadata else b""
    return b"\xff\xd8" + behind + b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + bytes(5)


def webp(width: int, height: int) -> bytes:
    return b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(4) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)


def url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        pytest.param(1000, 750, 1000, id="width x height / 750"),
        pytest.param(200, 200, 53, id="rounded"),
        pytest.param(1, 1, 1, id="one at least"),
        pytest.param(1092, 1092, 1590, id="the largest square that is not scaled"),
        pytest.param(4000, 3000, MOST, id="1600 at most"),
        pytest.param(3136, 100, 105, id="scaled to 1568 pixels on its longest edge"),
        pytest.param(100, 3136, 105, id="scaled, upright"),
    ],
)
@pytest.mark.parametrize("image", [png, gif, jpeg, webp])
def test_tokens_by_size(image: Callable[[int, int], bytes], width: int, height: int, tokens: int) -> None:
    assert image_tokens(url(image(width, height))) == tokens


def test_metadata_in_front_of_a_jpegs_size() -> None:
    assert image_tokens(url(jpeg(1000, 750, metadata=60_000))) == 1000


def test_only_the_head_is_read() -> None:
    assert image_tokens(url(png(1000, 750)) + "A" * 1_000_000 + " no base64") == 1000


@pytest.mark.parametrize(
    "image",
    [
        pytest.param("https://x.test/a.png", id="no data URL"),
        pytest.param("data:image/png,plain", id="a data URL without base64"),
        pytest.param("data:image/png;base64,", id="empty"),
        pytest.param("data:image/png;base64,AAAA", id="no image"),
        pytest.param("data:image/png;base64,A=AA", id="broken base64"),
        pytest.param("data:image/png;base64,éééé", id="not ASCII"),
        pytest.param(url(png(1000, 750)[:18]), id="cut inside the header"),
        pytest.param(url(png(0, 750)), id="no width"),
        pytest.param(url(png(1000, 0)), id="no height"),
        pytest.param(url(b'<svg width="' + b"9" * 400 + b'" height="5">'), id="wider than a number can tell"),
        pytest.param(url(b"P6\n" + b"9" * 400 + b" 5 255\n"), id="wider than a fraction can tell"),
    ],
)
def test_an_image_of_unknown_size_costs_the_most(image: str) -> None:
    assert image_tokens(image) == MOST


HEADS = [
    png(10, 10),
    gif(10, 10),
    jpeg(10, 10),
    webp(10, 10),
    b"<svg ",
    b"<?xml ",
    b"P6\n",
    b"II*\0",
    b"MM\0*",
    b"BM",
    b"",
]


@given(st.sampled_from(HEADS), st.integers(0, 40), st.binary(max_size=60))
@settings(max_examples=300, deadline=None, database=None)
def test_no_bytes_are_too_odd_to_count(head: bytes, cut: int, rest: bytes) -> None:
    assert 1 <= image_tokens(url(head[:cut] + rest)) <= MOST


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff\xd8" + b"\0" * 98_000, id="a JPEG of nothing"),
        pytest.param(b"\xff\xd8" + b"\xff" * 98_000, id="a JPEG of fill bytes"),
        pytest.param(b"\xff\xd8" + b"\xff\xe1\0\0" * 24_000, id="a JPEG of empty segments"),
        pytest.param(b"P6\n" + b"9" * 98_000, id="digits without end"),
        pytest.param(b"P5" + b" " * 98_000, id="blanks without end"),
        pytest.param(b"II*\0\x08\0\0\0\xff\xff" + b"\0" * 98_000, id="a TIFF of many entries"),
    ],
)
def test_a_header_without_end_costs_next_to_nothing(content: bytes) -> None:
    """Some 0.2 ms each; a reader that looks at each byte takes up to 2 s."""
    image = url(content)
    for _ in range(100):
        assert image_tokens(image) == MOST
