"""A request's body: complete within a time, no larger than a size, unpacked; else an ApiError that says what to do.

What can be refused by its head is refused before the body is read, and before a client that waits for `100 Continue`
is told to send it. A packed body counts with its unpacked size, and is unpacked in pieces between which the event
loop runs: 60 KB can hold 64 MiB.

    400  unpacks to nothing sensible, or its framing is in doubt
    403  sent by a foreign web page
    408  did not come in time
    413  too large
    415  packed in a way that is not known here
    417  an expectation that is not known
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiohttp import HttpVersion11, StreamReader, web

from gateway.anthropic.errors import ApiError, InvalidRequest

# zlib's window bits for each content coding (RFC 9110, section 8.4.1)
_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# some send deflate without zlib's header
_BARE_DEFLATE: Final = -15
_ZLIB_METHOD: Final = 8
# unpacked in less than a millisecond
_PIECE_BYTES: Final = 256 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The largest body, in MiB, and the longest time for all of it, in seconds."""

    mib: int
    seconds: float

    @property
    def bytes(self) -> int:
        """The largest body in bytes."""
        return self.mib * 1024 * 1024


async def read_body(request: web.Request, limits: BodyLimits) -> bytes:
    """The whole body, unpacked; it may be empty. Raises ApiError: see above."""
    _refuse_foreign_page(request)
    _refuse_doubtful_framing(request)
    coding = _content_coding(request)
    if request.content.is_eof() and coding is None and "Expect" not in request.headers:
        # it came with its head
        body = await request.content.readany()
        if len(body) > limits.bytes:
            raise _too_large(limits)
        return body
    if (request.content_length or 0) > limits.bytes:
        raise _too_large(limits)
    await _tell_to_continue(request)
    pieces = _pieces(request.content)
    try:
        async with asyncio.timeout(limits.seconds):
            return await _gather(_unpacked(pieces, coding) if coding else pieces, limits)
    except TimeoutError:
        raise ApiError(
            408,
            f"the request body did not come within {limits.seconds:g} s: check the connection, "
            "or start the gateway with a larger REQUEST_TIMEOUT_SECS",
        ) from None
    except web.RequestPayloadError:
        raise InvalidRequest(
            "the request body broke off, or is not framed as HTTP asks for: send it again, whole"
        ) from None


async def leave_expectation(request: web.Request) -> None:
    """Runs in place of aiohttp's answer to `Expect`: that one tells clients to send what may be refused."""


async def close_unread(request: web.Request, response: web.StreamResponse) -> None:
    """Run as each response is prepared: an answer in the middle of a body tells the client to stop sending.

    What is on its way is read and dropped for some seconds more, so that the answer is not lost in a reset.
    """
    if not request.content.is_eof() or request.content.exception():
        response.force_close()
        response.headers["Connection"] = "close"


async def _pieces(content: StreamReader) -> AsyncIterator[bytes]:
    """A body as it came: aiohttp's `iter_any` would join what waits, and all is joined once more at the end."""
    async for piece, _ in content.iter_chunks():
        if piece:
            yield piece


async def _gather(pieces: AsyncIterator[bytes], limits: BodyLimits) -> bytes:
    gathered: list[bytes] = []
    size = 0
    async for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size > limits.bytes:
            # the error's traceback keeps them
            gathered.clear()
            raise _too_large(limits)
    return b"".join(gathered)


async def _unpacked(packed: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    unpacker = None
    async for rest in packed:
        if unpacker is None:
            bare = coding == "deflate" and rest[0] & 0x0F != _ZLIB_METHOD
            unpacker = zlib.decompressobj(_BARE_DEFLATE if bare else _WINDOW_BITS[coding])
        full = True
        while rest or full:
            try:
                piece = unpacker.decompress(rest, _PIECE_BYTES)
            except zlib.error:
                raise InvalidRequest(
                    f"the request body is not valid {coding}, as Content-Encoding says: pack it again, or not"
                ) from None
            if unpacker.unused_data:
                raise InvalidRequest(f"the request body goes on after the end of its {coding} data: send that alone")
            rest, full = unpacker.unconsumed_tail, len(piece) == _PIECE_BYTES
            yield piece
            await asyncio.sleep(0)
    if unpacker is not None and not unpacker.eof:
        raise InvalidRequest(f"the request body ends in the middle of its {coding} data: send it again, whole")


def _too_large(limits: BodyLimits) -> ApiError:
    return ApiError(
        413,
        f"the request body is larger than {limits.mib} MiB ({limits.bytes} bytes), the most that this gateway takes: "
        "send less, or start the gateway with a larger MAX_BODY_MIB",
    )


def _content_coding(request: web.Request) -> str | None:
    """How the body is packed; None if it is not, or if aiohttp has been left to unpack it. Raises ApiError 415."""
    coding = ", ".join(request.headers.getall("Content-Encoding", [])).strip().lower()
    if coding in ("", "identity") or not request.body_exists:
        return None
    if coding not in _WINDOW_BITS:
        raise ApiError(
            415, f"Content-Encoding {coding[:40]!r} is not known here: send the body as it is, as gzip or as deflate"
        )
    return coding if request.content.total_compressed_bytes is None else None


def _refuse_doubtful_framing(request: web.Request) -> None:
    """Where one proxy sees another end of the body than the next, a second request can hide in it (RFC 9112, 6.1)."""
    coding = request.headers.get("Transfer-Encoding")
    if coding is None:
        return
    if request.version < HttpVersion11:
        raise InvalidRequest("HTTP/1.0 has no Transfer-Encoding: send the request with Content-Length")
    if coding.strip().lower() != "chunked":
        raise InvalidRequest(f"Transfer-Encoding {coding[:40]!r} is not known here: chunked is the only one")


def _refuse_foreign_page(request: web.Request) -> None:
    """A page may send any site's server a form or plain text without asking it first; JSON it may not.

    Without an origin any type will do: `curl -d` calls JSON a form.
    """
    foreign = "Origin" in request.headers or request.headers.get("Sec-Fetch-Site") == "cross-site"
    if foreign and request.content_type != "application/json":
        raise ApiError(
            403, "a web page may call this gateway with Content-Type application/json only: other types need no consent"
        )


async def _tell_to_continue(request: web.Request) -> None:
    expectation = request.headers.get("Expect", "").lower()
    if not expectation or request.version < HttpVersion11:
        return
    if expectation != "100-continue":
        raise ApiError(417, f"Expect {expectation[:40]!r} is not known here: 100-continue is the only one")
    if not request.content.is_eof():
        await request.writer.write(_CONTINUE)
        # none of the answer itself has been sent
        request.writer.output_size = 0
