"""A request's body: read within a time and a size limit, and decompressed. Failures are ApiErrors that say what to do.

A request that can be refused by its head is refused before its body is read, and before a client that waits for
`100 Continue` is told to send it. The limit applies to the decompressed size. A body is decompressed in pieces between
which the event loop runs: 60 KB can expand to 64 MiB.

A body must keep a slowest pace: what it lacks against _PACE may add up to `pause` seconds. A silent client is gone by
then, and one that sends single bytes is not far behind.

    400  cannot be decompressed, or has ambiguous framing
    403  sent by a foreign web page
    408  did not arrive in time
    413  too large
    415  unsupported Content-Encoding
    417  unsupported Expect
    429, 529  beyond the limits of `gateway.door.uploads`
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiohttp import HttpVersion11, StreamReader, web

from gateway.anthropic.errors import ApiError, InvalidRequest
from gateway.door.uploads import Held, Uploads
from gateway.record.request_record import RECORD

# zlib's window bits for each content coding (RFC 9110, section 8.4.1)
_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# some clients send deflate without zlib's header
_BARE_DEFLATE: Final = -15
_ZLIB_METHOD: Final = 8
# decompressed in less than a millisecond
_PIECE_BYTES: Final = 256 * 1024
# bytes per second: a tenth of what a slow mobile line carries
_PACE: Final = 4096
# bodies so small are not worth counting: MAX_STREAMS of them take 32 MiB
_UNCOUNTED_BYTES: Final = 16 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The largest body, in MiB; the longest time in which it may arrive, and how far it may fall behind the slowest
    pace, in seconds.
    """

    mib: int
    seconds: float
    pause: float

    @property
    def bytes(self) -> int:
        """The largest body in bytes."""
        return self.mib * 1024 * 1024


class Body(NamedTuple):
    """A body, decompressed; it may be empty. `held` must be kept as long as what is made of `data`."""

    data: bytes
    held: Held


async def read_body(
    request: web.Request, limits: BodyLimits, uploads: Uploads, arriving: Callable[[], AbstractContextManager[None]]
) -> Body:
    """The whole body. Raises ApiError with the statuses listed above.

    `arriving` is entered while a body arrives that did not come with its head, and may refuse to wait for it.
    """
    _refuse_foreign_page(request)
    if (doubt := _doubt_about_framing(request)) is not None:
        raise InvalidRequest(doubt)
    coding = _content_coding(request)
    if request.content.is_eof() and coding is None and "Expect" not in request.headers:
        # the body arrived with the head
        body = await request.content.readany()
        if len(body) > limits.bytes:
            raise _too_large(limits)
        return Body(body, uploads.hold(len(body)) if len(body) > _UNCOUNTED_BYTES else None)
    if (request.content_length or 0) > limits.bytes:
        raise _too_large(limits)
    owner = request[RECORD].client or request.remote or ""
    with arriving(), uploads.begin(owner, request.content_length or 0) as held:
        await _tell_to_continue(request)
        return Body(await _arrived(request.content, coding, limits, held.grow), held)


async def _arrived(content: StreamReader, coding: str | None, limits: BodyLimits, grow: Callable[[int], None]) -> bytes:
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(began + min(limits.pause, limits.seconds)) as clock:
            pieces = _pieces(content, clock, limits)
            return await _gather(_unpacked(pieces, coding) if coding else pieces, limits, grow)
    except TimeoutError:
        if asyncio.get_running_loop().time() - began < limits.seconds:
            raise ApiError(
                408,
                f"the request body came more slowly than {_PACE} bytes/s for {limits.pause:g} s: check the connection, "
                "or start the gateway with a larger UPLOAD_PAUSE_SECS",
            ) from None
        raise ApiError(
            408,
            f"the request body did not arrive within {limits.seconds:g} s: check the connection, "
            "or start the gateway with a larger REQUEST_TIMEOUT_SECS",
        ) from None
    except web.RequestPayloadError:
        raise InvalidRequest(
            "the request body is incomplete, or its framing is not valid HTTP: send the whole body again"
        ) from None


async def leave_expectation(request: web.Request) -> None:
    """Do nothing. Replaces aiohttp's handler of `Expect`, which tells clients to send a body that may be refused."""


async def close_unread(request: web.Request, response: web.StreamResponse) -> None:
    """Tell the client to stop sending if it is answered before its whole body was read, or if it is doubtful where that
    ends. Runs before each response.

    The connection is closed afterwards. What still arrives is read and dropped for some seconds, so that a reset of the
    connection does not lose the answer.
    """
    if not request.content.is_eof() or request.content.exception() or _doubt_about_framing(request):
        response.force_close()
        response.headers["Connection"] = "close"


async def _pieces(content: StreamReader, clock: asyncio.Timeout, limits: BodyLimits) -> AsyncIterator[bytes]:
    """A body's pieces as they arrive: aiohttp's `iter_any` would join them once, and `_gather` joins them again.

    Each piece puts off the time at which `clock` ends the upload.
    """
    now = asyncio.get_running_loop().time
    due, last = now() + limits.pause, now() + limits.seconds
    async for piece, _ in content.iter_chunks():
        due = min(due + len(piece) / _PACE, now() + limits.pause)
        clock.reschedule(min(due, last))
        if piece:
            yield piece


async def _gather(pieces: AsyncIterator[bytes], limits: BodyLimits, grow: Callable[[int], None]) -> bytes:
    gathered: list[bytes] = []
    size = 0
    try:
        async for piece in pieces:
            gathered.append(piece)
            size += len(piece)
            if size > limits.bytes:
                raise _too_large(limits)
            grow(len(piece))
        return b"".join(gathered)
    finally:
        # an error's traceback would keep them alive
        gathered.clear()


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
                    f"the request body is not valid {coding}, which Content-Encoding declares: compress it again, or "
                    "send it uncompressed"
                ) from None
            if unpacker.unused_data:
                raise InvalidRequest(f"the request body continues after its {coding} data: send only that data")
            rest, full = unpacker.unconsumed_tail, len(piece) == _PIECE_BYTES
            yield piece
            await asyncio.sleep(0)
    if unpacker is not None and not unpacker.eof:
        raise InvalidRequest(f"the request body ends in the middle of its {coding} data: send the whole body again")


def _too_large(limits: BodyLimits) -> ApiError:
    return ApiError(
        413,
        f"the request body is larger than {limits.mib} MiB ({limits.bytes} bytes), the most that this gateway accepts: "
        "send less, or start the gateway with a larger MAX_BODY_MIB",
    )


def _content_coding(request: web.Request) -> str | None:
    """The body's compression; None if it has none, or if aiohttp decompresses it. Raises ApiError 415."""
    coding = ", ".join(request.headers.getall("Content-Encoding", [])).strip().lower()
    if coding in ("", "identity") or not request.body_exists:
        return None
    if coding not in _WINDOW_BITS:
        raise ApiError(
            415, f"Content-Encoding {coding[:40]!r} is not supported: send the body uncompressed, as gzip or as deflate"
        )
    return coding if request.content.total_compressed_bytes is None else None


def _doubt_about_framing(request: web.Request) -> str | None:
    """Why proxies may read a request's framing differently, so that a second request could hide in its body (RFC 9112,
    section 6.1); None if they may not.
    """
    if "Transfer-Encoding" not in request.headers:
        return None
    if request.version < HttpVersion11:
        return "HTTP/1.0 has no Transfer-Encoding: send the request with Content-Length"
    coding = ", ".join(request.headers.getall("Transfer-Encoding")).strip()
    if coding.lower() != "chunked":
        return f"Transfer-Encoding {coding[:40]!r} is not supported: only chunked is"
    return None


def _refuse_foreign_page(request: web.Request) -> None:
    """Refuse what browsers let any web page send without the server's consent (CORS): forms and plain text, not JSON.

    Other clients may use any type: `curl -d` labels JSON as a form.
    """
    foreign = "Origin" in request.headers or request.headers.get("Sec-Fetch-Site") == "cross-site"
    if foreign and request.content_type != "application/json":
        raise ApiError(
            403,
            "a web page may call this gateway only with Content-Type application/json: browsers send other types "
            "without asking for consent",
        )


async def _tell_to_continue(request: web.Request) -> None:
    expectation = request.headers.get("Expect", "").lower()
    if not expectation or request.version < HttpVersion11:
        return
    if expectation != "100-continue":
        raise ApiError(417, f"Expect {expectation[:40]!r} is not supported: only 100-continue is")
    if not request.content.is_eof():
        await request.writer.write(_CONTINUE)
        # nothing of the response itself has been sent
        request.writer.output_size = 0
