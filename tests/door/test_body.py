"""Requests' bodies: too large, too slow, packed, cut, no JSON, and from foreign pages; on a real socket."""

import asyncio
import gzip
import json
import zlib
from functools import partial
from typing import Any

import pytest

from tests.conftest import ScriptedBackend, ask
from tests.http_connection import Connect

MIB = 1024 * 1024
TOO_LARGE = (
    "the request body is larger than 1 MiB (1048576 bytes), the most that this gateway accepts: "
    "send less, or start the gateway with a larger MAX_BODY_MIB"
)
TOO_SLOW = (
    "the request body did not arrive within 0.2 s: check the connection, "
    "or start the gateway with a larger REQUEST_TIMEOUT_SECS"
)


def head(*fields: str) -> bytes:
    lines = ["POST /v1/messages HTTP/1.1", "Host: localhost", "x-api-key: cpk_test", *fields, "", ""]
    return "\r\n".join(lines).encode()


def whole(body: bytes, *fields: str) -> bytes:
    return head(*fields, f"Content-Length: {len(body)}") + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


BODY = json.dumps(ask()).encode()


@pytest.fixture
def connect(connect: Connect) -> Connect:
    """The same, with small limits."""
    return partial(connect, max_body_mib="1")


@pytest.mark.parametrize("fields", [(), ("Expect: 100-continue",)], ids=["", "a client that waits"])
async def test_a_length_over_the_limit_is_refused_before_the_body_comes(
    fields: tuple[str, ...], connect: Connect
) -> None:
    connection = await connect()

    status, headers, answer = await connection.send(head(*fields, f"Content-Length: {MIB + 1}"))

    assert (status, headers["connection"], headers["x-should-retry"]) == (413, "close", "false")
    assert answer["error"] == {"type": "request_too_large", "message": TOO_LARGE}


async def test_a_client_that_waits_is_told_to_continue_and_read(connect: Connect) -> None:
    connection = await connect()

    connection.writer.write(head("Expect: 100-continue", f"Content-Length: {len(BODY)}"))

    assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await connection.send(BODY))[0] == 200
    assert (await connection.send(whole(BODY)))[0] == 200


async def test_a_client_that_waits_is_not_told_to_continue_without_a_token(connect: Connect) -> None:
    connection = await connect()
    waiting = head("Expect: 100-continue", f"Content-Length: {len(BODY)}").replace(b"x-api-key", b"x-other")

    assert (await connection.send(waiting))[0] == 401


async def test_the_largest_body_is_taken(connect: Connect, scripted: ScriptedBackend) -> None:
    connection = await connect()

    assert (await connection.send(whole(BODY.ljust(MIB))))[0] == 200
    assert (await connection.send(head("Transfer-Encoding: chunked") + chunk(BODY.ljust(MIB)) + chunk(b"")))[0] == 200
    assert (await connection.refusal(whole(BODY.ljust(MIB + 1)))) == (413, "request_too_large", TOO_LARGE)
    assert len(scripted.requests) == 2


async def test_a_chunked_body_is_refused_once_it_is_too_large(connect: Connect) -> None:
    connection = await connect()
    first, more = head("Transfer-Encoding: chunked") + chunk(BODY), chunk(b" " * MIB)

    assert await connection.refusal(first + more) == (413, "request_too_large", TOO_LARGE)


async def test_a_client_that_sends_on_still_gets_its_refusal(connect: Connect) -> None:
    connection = await connect()
    data = whole(b" " * 20 * MIB)

    connection.writer.write(data)
    # the client reads nothing before all is sent
    await connection.writer.drain()

    assert (await connection.answer())[0] == 413
    assert await connection.reader.read() == b""


PACKED: dict[str, tuple[str, bytes]] = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "gzip by its old name": ("x-gzip", gzip.compress(BODY)),
    "gzip in capitals": ("GZIP", gzip.compress(BODY)),
    "deflate": ("deflate", zlib.compress(BODY)),
    "deflate without a header": ("deflate", zlib.compress(BODY, wbits=-15)),
    "nothing": ("identity", BODY),
    "much that is nothing": ("gzip", gzip.compress(BODY.ljust(MIB))),
}


@pytest.mark.parametrize(("coding", "body"), PACKED.values(), ids=PACKED)
async def test_a_packed_body_is_unpacked(coding: str, body: bytes, connect: Connect, scripted: ScriptedBackend) -> None:
    connection = await connect()

    assert (await connection.send(whole(body, f"Content-Encoding: {coding}")))[0] == 200
    assert scripted.requests[0].json["messages"] == [{"role": "user", "content": "Hi"}]


async def test_a_packed_body_may_come_byte_by_byte(connect: Connect) -> None:
    connection = await connect()
    packed = gzip.compress(BODY)
    connection.writer.write(head("Content-Encoding: gzip", "Transfer-Encoding: chunked"))
    for byte in packed:
        connection.writer.write(chunk(bytes([byte])))
        await connection.writer.drain()
        # the gateway's turn
        for _ in range(3):
            await asyncio.sleep(0)

    assert (await connection.send(chunk(b"")))[0] == 200


@pytest.mark.parametrize(
    "bomb",
    [gzip.compress(BODY.ljust(MIB + 1)), gzip.compress(b" " * 64 * MIB)],
    ids=["one byte too many", "64 MiB in 64 KB"],
)
async def test_a_body_that_unpacks_to_too_much_is_refused(bomb: bytes, connect: Connect) -> None:
    connection = await connect()

    assert await connection.refusal(whole(bomb, "Content-Encoding: gzip")) == (413, "request_too_large", TOO_LARGE)


UNPACKABLE: dict[str, tuple[str, bytes, str]] = {
    "no gzip": (
        "gzip",
        BODY,
        "the request body is not valid gzip, which Content-Encoding declares: compress it again, or send it "
        "uncompressed",
    ),
    "no deflate": (
        "deflate",
        b"xx",
        "the request body is not valid deflate, which Content-Encoding declares: compress it again, or send it "
        "uncompressed",
    ),
    "a checksum that is wrong": (
        "gzip",
        gzip.compress(BODY)[:-8] + b"12345678",
        "the request body is not valid gzip, which Content-Encoding declares: compress it again, or send it "
        "uncompressed",
    ),
    "cut": (
        "gzip",
        gzip.compress(BODY)[:-9],
        "the request body ends in the middle of its gzip data: send the whole body again",
    ),
    "more behind the end": (
        "gzip",
        gzip.compress(BODY) + b"{}",
        "the request body continues after its gzip data: send only that data",
    ),
    "packed nothing": ("gzip", gzip.compress(b""), "the request body is empty"),
    "no body": ("gzip", b"", "the request body is empty"),
}


@pytest.mark.parametrize(("coding", "body", "message"), UNPACKABLE.values(), ids=UNPACKABLE)
async def test_a_body_that_cannot_be_unpacked_is_a_400(
    coding: str, body: bytes, message: str, connect: Connect
) -> None:
    connection = await connect()

    refused = await connection.refusal(whole(body, f"Content-Encoding: {coding}"))

    assert refused == (400, "invalid_request_error", message)
    assert (await connection.send(whole(BODY)))[0] == 200


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip\r\nContent-Encoding: br"])
async def test_another_packing_is_a_415_that_names_the_known_ones(coding: str, connect: Connect) -> None:
    connection = await connect()

    refused = await connection.refusal(whole(BODY, f"Content-Encoding: {coding}"))

    name = coding.replace("\r\nContent-Encoding:", ",")
    assert refused == (
        415,
        "invalid_request_error",
        f"Content-Encoding {name!r} is not supported: send the body uncompressed, as gzip or as deflate",
    )
    assert (await connection.send(whole(BODY)))[0] == 200


@pytest.mark.parametrize("body", [b"", BODY[:9], gzip.compress(BODY)[:20]], ids=["nothing", "a part", "a packed part"])
async def test_a_body_that_does_not_come_is_a_408_in_time(body: bytes, connect: Connect) -> None:
    connection = await connect(request_timeout_secs="0.2")
    fields = ["Content-Encoding: gzip"] if body.startswith(b"\x1f") else []

    status, headers, answer = await connection.send(head(*fields, "Content-Length: 1000") + body)

    assert (status, headers["connection"]) == (408, "close")
    assert answer["error"] == {"type": "timeout_error", "message": TOO_SLOW}


async def test_a_body_that_comes_slowly_is_not_given_more_time(connect: Connect) -> None:
    connection = await connect(request_timeout_secs="0.2")
    connection.writer.write(head("Content-Length: 1000"))

    async def trickle() -> None:
        while True:
            connection.writer.write(b" ")
            await asyncio.sleep(0.02)

    trickling = asyncio.create_task(trickle())
    status, _, _ = await connection.answer()
    trickling.cancel()
    await asyncio.wait([trickling])

    assert status == 408


async def test_a_body_that_stops_being_http_is_a_400_at_once(connect: Connect) -> None:
    connection = await connect()
    connection.writer.write(head("Expect: 100-continue", "Transfer-Encoding: chunked"))
    # the gateway waits for the body
    await connection.reader.readuntil(b"\r\n\r\n")

    status, headers, answer = await connection.send(chunk(BODY) + b"zz\r\n")

    assert (status, headers["connection"]) == (400, "close")
    assert answer["error"] == {
        "type": "invalid_request_error",
        "message": "the request body is incomplete, or its framing is not valid HTTP: send the whole body again",
    }
    assert await connection.reader.read() == b""


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Content-Type: application/json",),
        ("Content-Type: application/x-www-form-urlencoded",),
        ("Content-Type: text/plain",),
        ("Content-Type: multipart/form-data; boundary=x",),
        ("Content-Type: \u00ff",),
        ("Content-Type: application/json; charset=utf-8", "Origin: http://localhost:3000"),
        ("Content-Type: application/json", "Sec-Fetch-Site: cross-site"),
        ("Content-Type: text/plain", "Sec-Fetch-Site: none"),
    ],
    ids=str,
)
async def test_json_is_taken_whatever_it_calls_itself(fields: tuple[str, ...], connect: Connect) -> None:
    connection = await connect()

    assert (await connection.send(whole(BODY, *fields)))[0] == 200


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Type: text/plain", "Origin: https://evil.example"),
        ("Content-Type: application/x-www-form-urlencoded", "Origin: null"),
        ("Content-Type: multipart/form-data; boundary=x", "Origin: https://evil.example"),
        ("Origin: https://evil.example",),
        ("Content-Type: text/plain", "Sec-Fetch-Site: cross-site"),
    ],
    ids=str,
)
async def test_a_page_cannot_post_without_the_browsers_asking_first(
    fields: tuple[str, ...], connect: Connect, scripted: ScriptedBackend
) -> None:
    connection = await connect()

    assert await connection.refusal(whole(BODY, *fields)) == (
        403,
        "permission_error",
        "a web page may call this gateway only with Content-Type application/json: browsers send other types without "
        "asking for consent",
    )
    assert scripted.requests == []


def deep(opened: bytes, closed: bytes, depth: int, template: dict[str, Any]) -> bytes:
    return json.dumps(template).encode().replace(b'"@"', opened * depth + b'""' + closed * depth)


PLACES: dict[str, dict[str, Any]] = {
    "a known field": ask() | {"stop_sequences": "@"},
    "an unknown field": ask(x="@"),
    "content": ask() | {"messages": [{"role": "user", "content": "@"}]},
    "an input": ask() | {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": "@"}]}]},
    "a schema": ask(tools=[{"name": "f", "input_schema": {"type": "object", "properties": "@"}}]),
    "a format": ask(output_config={"format": {"type": "json_schema", "schema": {"a": "@"}}}),
    "an unknown block": ask() | {"messages": [{"role": "user", "content": [{"type": "new", "text": 7, "x": "@"}]}]},
}  # fmt: skip


@pytest.mark.parametrize("template", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
async def test_no_depth_of_json_is_a_fault_of_ours(
    opened: bytes, closed: bytes, template: dict[str, Any], connect: Connect
) -> None:
    connection = await connect()

    status, kind, message = await connection.refusal(whole(deep(opened, closed, 100_000, template)))

    assert (status, kind) == (400, "invalid_request_error")
    assert "nested too deeply" in message or "Expected" in message
    for depth in (30, 180, 300, 480, 900, 990):
        assert (await connection.send(whole(deep(opened, closed, depth, template))))[0] in (200, 400)


NO_JSON: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the request body is empty"),
    "a form": (b"model=m", "the request body is not valid JSON in UTF-8: JSON is malformed"),
    "cut": (BODY[:-3], "the request body is not valid JSON in UTF-8: Input data was truncated"),
    "a byte order mark": (b"\xef\xbb\xbf" + BODY, "the request body is not valid JSON in UTF-8: it begins with a byte order mark"),
    "no UTF-8": (BODY.replace(b"Hi", b"\xff"), "the request body is not valid JSON in UTF-8: 'utf-8' codec can't decode byte 0xff in position"),
    "NaN": (BODY.replace(b"100", b"NaN"), "the request body is not valid JSON in UTF-8: JSON is malformed"),
    "Infinity": (BODY.replace(b"100", b"Infinity"), "the request body is not valid JSON in UTF-8: JSON is malformed"),
    "a wrong type": (BODY.replace(b"100", b'"100"'), "max_tokens: Expected `int | null`, got `str`"),
    "half a character": (BODY.replace(b"Hi", rb"a\ud83d"), "the request body is not valid JSON in UTF-8: no low surrogate in string: "),
    "a key twice": (BODY.replace(b"{", b'{"model":"other",', 1), "model: must not appear twice"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message"), NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/messages/count_tokens"])
async def test_a_body_that_is_no_request_is_a_400_and_the_next_one_works(
    path: bytes, body: bytes, message: str, connect: Connect, scripted: ScriptedBackend
) -> None:
    connection = await connect()

    status, kind, said = await connection.refusal(whole(body).replace(b"/v1/messages", path))

    assert (status, kind) == (400, "invalid_request_error")
    assert said.startswith(message)
    assert scripted.requests == []
    assert (await connection.send(whole(BODY)))[0] == 200


async def test_a_large_body_that_is_no_request_is_a_400_too(connect: Connect) -> None:
    connection = await connect(max_body_mib="4")

    refused = await connection.refusal(whole(BODY.replace(b"Hi", b"a" * 3 * MIB).replace(b"100", b"-1")))

    assert refused == (400, "invalid_request_error", "max_tokens: must not be negative")
