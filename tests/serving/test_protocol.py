"""HTTP as hostile, broken and unusual clients write it, byte by byte on a real socket."""

import asyncio
import json
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from gateway.app import make_app
from gateway.serving.protocol import ServerProtocol
from gateway.serving.server import listening
from gateway.settings import load_settings
from tests.conftest import ScriptedBackend, ask
from tests.http_connection import Connect

BODY = json.dumps(ask()).encode()
LINE = b"POST /v1/messages HTTP/1.1"
HOST = b"Host: localhost"
TOKEN = b"Authorization: Bearer cpk_canary"
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"


def request(*head: bytes, body: bytes = BODY) -> bytes:
    return b"\r\n".join([*head, b"", b""]) + body


def chunks(*pieces: bytes, size: bytes = b"%x", last: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(size % len(piece) + b"\r\n" + piece + b"\r\n" for piece in pieces) + last


GOOD = request(LINE, HOST, TOKEN, LENGTH)


NO_HTTP: dict[str, tuple[bytes, str]] = {
    "no host": (request(LINE, TOKEN, LENGTH), "Missing 'Host' header in request."),
    "two hosts": (request(LINE, HOST, b"Host: y", TOKEN, LENGTH), "Duplicate 'Host' header found."),
    "a method that is none": (request(b"BREW / HTTP/1.1", HOST), "Invalid method encountered"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "Pause on PRI/Upgrade"),
    "HTTP/3.0": (request(b"POST /v1/messages HTTP/3.0", HOST, TOKEN, LENGTH), "Bad status line"),
    "a path of raw bytes": (request(b"POST /v1/\xff HTTP/1.1", HOST, TOKEN, LENGTH), "Invalid char in url path"),
    "a path without a slash": (request(b"POST %2Fv1/messages HTTP/1.1", HOST, TOKEN), "Unexpected start char in url"),
    "a long request line": (
        request(b"POST /v1/messages?" + b"a" * 9000 + b" HTTP/1.1", HOST, TOKEN, LENGTH),
        "Got more than 8190 bytes when reading",
    ),
    "a long header": (request(LINE, HOST, TOKEN, b"X: " + b"a" * 9000, LENGTH), "Got more than 8190 bytes when reading"),
    "a token of 100 KB": (
        request(LINE, HOST, b"x-api-key: " + b"canary" * 17_000, LENGTH),
        "Got more than 8190 bytes when reading",
    ),
    "200 headers": (
        request(LINE, HOST, TOKEN, *(b"X-%d: a" % number for number in range(200)), LENGTH),
        "Too many headers received",
    ),
    "200 trailers": (
        request(LINE, HOST, TOKEN, CHUNKED, body=chunks(BODY, last=b"0\r\n" + b"X: a\r\n" * 200 + b"\r\n")),
        "Too many headers received",
    ),
    "a length beside chunks": (
        request(LINE, HOST, TOKEN, LENGTH, CHUNKED, body=chunks(BODY)),
        "Transfer-Encoding can't be present with Content-Length",
    ),
    "chunks beside a length": (
        request(LINE, HOST, TOKEN, CHUNKED, b"Content-Length: 5", body=chunks(BODY)),
        "Content-Length can't be present with Transfer-Encoding",
    ),
    "two lengths": (request(LINE, HOST, TOKEN, b"Content-Length: 5", LENGTH), "Duplicate Content-Length"),
    "two equal lengths": (request(LINE, HOST, TOKEN, LENGTH, LENGTH), "Duplicate Content-Length"),
    "a list of lengths": (request(LINE, HOST, TOKEN, LENGTH + b", 5"), "Invalid character in Content-Length"),
    "a length with a sign": (
        request(LINE, HOST, TOKEN, b"Content-Length: +5"),
        "Invalid character in Content-Length",
    ),
    "a length beyond all numbers": (
        request(LINE, HOST, TOKEN, b"Content-Length: 99999999999999999999999"),
        "Content-Length overflow",
    ),
    "a folded header": (
        request(LINE, HOST, b"X-A: a\r\n canary", TOKEN, LENGTH),
        "Unexpected whitespace after header value",
    ),
    "a blank before the colon": (request(LINE, HOST, b"X-A : a", TOKEN, LENGTH), "Invalid header token"),
    "lines that end with LF only": (GOOD.replace(b"\r\n", b"\n"), "Bad status line"),
    "LF inside a value": (request(LINE, HOST, b"x-api-key: canary\nX: 1", LENGTH), "Missing expected CR after header value"),
    "CR inside a value": (request(LINE, HOST, b"x-api-key: canary\rX: 1", LENGTH), "Missing expected LF after header value"),
    "NUL inside a value": (request(LINE, HOST, b"x-api-key: canary\0", LENGTH), "Invalid header value char"),
    "a control character in a token": (request(LINE, HOST, TOKEN + b"\x01", LENGTH), "Invalid header value char"),
    "a coding that is no chunks": (
        request(LINE, HOST, TOKEN, b"Transfer-Encoding: xchunked", body=chunks(BODY)),
        "Request has invalid `Transfer-Encoding`",
    ),
    "chunks twice": (
        request(LINE, HOST, TOKEN, CHUNKED, CHUNKED, body=chunks(BODY)),
        "Invalid `Transfer-Encoding` header value",
    ),
    "a chunk size that is none": (
        request(LINE, HOST, TOKEN, CHUNKED, body=b"canary" + chunks(BODY)),
        "Invalid character in chunk size",
    ),
    "a negative chunk size": (
        request(LINE, HOST, TOKEN, CHUNKED, body=chunks(BODY, size=b"-%x")),
        "Invalid character in chunk size",
    ),
    "a chunk size with 0x": (
        request(LINE, HOST, TOKEN, CHUNKED, body=chunks(BODY, size=b"0x%x")),
        "Invalid character in chunk size",
    ),
    "a chunk size beyond all numbers": (
        request(LINE, HOST, TOKEN, CHUNKED, body=chunks(BODY, size=b"fffffffffffffffff%x")),
        "Chunk size overflow",
    ),
    "a chunk longer than its size": (
        request(LINE, HOST, TOKEN, CHUNKED, body=chunks(BODY).replace(b"\r\n0", b"}\r\n0")),
        "Expected LF after chunk data",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "reason"), NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http_is_refused_and_the_connection_closed(
    raw: bytes, reason: str, connect: Connect, scripted: ScriptedBackend
) -> None:
    connection = await connect()
    with structlog.testing.capture_logs() as lines:
        # another request may hide behind one whose end is in doubt
        status, headers, answer = await connection.send(raw + GOOD)

        assert await connection.reader.read() == b""
    assert status == 400
    assert answer == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": f"the request is not valid HTTP: {reason}"},
        "request_id": headers["request-id"],
    }
    assert scripted.requests == []
    assert "canary" not in str(answer) + str(lines)


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "two slashes": (
        request(b"POST /v1//messages HTTP/1.1", HOST, TOKEN, LENGTH),
        404,
        "/v1//messages is not served here; the Messages API is at /v1/messages",
    ),
    "a path with dots": (
        request(b"POST /v1/../v1/messages HTTP/1.1", HOST, TOKEN, LENGTH),
        404,
        "/v1/../v1/messages is not served here; the Messages API is at /v1/messages",
    ),
    "an encoded path without a token": (request(b"POST /%761/messages HTTP/1.1", HOST, LENGTH), 401, "no token: "),
    "an encoded slash without a token": (request(b"POST /v1%2Fmessages HTTP/1.1", HOST, LENGTH), 401, "no token: "),
    "another host": (
        request(b"POST http://y/v1/messages HTTP/1.1", HOST, TOKEN, LENGTH),
        403,
        "this request asks for the host 'y', ",
    ),
    "the form for proxies without a token": (
        request(b"POST http://localhost/v1/messages HTTP/1.1", HOST, LENGTH),
        401,
        "no token: ",
    ),
    "line ends in a model's path": (
        request(b"GET /v1/models/a%0d%0aX-Evil:1 HTTP/1.1", HOST, TOKEN, body=b""),
        404,
        "/v1/models/a\r\nX-Evil:1 is not served here",
    ),
    "line ends in a model's name": (
        request(LINE, HOST, TOKEN, b"Content-Length: 50", body=rb'{"model":"a\r\nX-Evil: 1"'.ljust(49) + b"}"),
        400,
        "messages: Field required",
    ),
    "a token with a blank": (request(LINE, HOST, TOKEN + b" b", LENGTH), 401, "the token contains a blank, "),
    "a token with a tab": (request(LINE, HOST, TOKEN + b"\tb", LENGTH), 401, "the token contains a blank, "),
    "a token in UTF-8": (request(LINE, HOST, TOKEN + "é".encode(), LENGTH), 401, "the token contains a blank, "),
    "a token in Latin-1": (request(LINE, HOST, TOKEN + b"\xe9", LENGTH), 401, "the token contains a blank, "),
    "a key in UTF-8": (request(LINE, HOST, "x-api-key: canaryé".encode(), LENGTH), 401, "the token contains a blank, "),
    "another expectation": (
        request(LINE, HOST, TOKEN, b"Expect: 200-ok", LENGTH),
        417,
        "Expect '200-ok' is not supported: only 100-continue is",
    ),
}


@pytest.mark.parametrize(("raw", "status", "message"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_leaves_the_connection_to_the_next_request(
    raw: bytes, status: int, message: str, connect: Connect, scripted: ScriptedBackend
) -> None:
    connection = await connect()
    with structlog.testing.capture_logs() as lines:
        refused, _, answer = await connection.send(raw)

        assert refused == status
        assert answer["error"]["message"].startswith(message)
        assert scripted.requests == []
        assert (await connection.send(GOOD))[0] == 200
    assert "canary" not in str(answer) + str(lines)


TAKEN: dict[str, bytes] = {
    "chunks": request(LINE, HOST, TOKEN, CHUNKED, body=chunks(BODY[:9], BODY[9:])),
    "chunks with extensions": request(LINE, HOST, TOKEN, CHUNKED, body=chunks(BODY, size=b"%x;a=b")),
    "chunks with a trailer": request(LINE, HOST, TOKEN, CHUNKED, body=chunks(BODY, last=b"0\r\nX-Api-Key: no\r\n\r\n")),
    "an empty line in front": b"\r\n" + GOOD,
    "the form for proxies": request(b"POST http://localhost/v1/messages HTTP/1.1", HOST, TOKEN, LENGTH),
    "an encoded path": request(b"POST /v1/%6dessages HTTP/1.1", HOST, TOKEN, LENGTH),
    "a query": request(b"POST /v1/messages?beta=true HTTP/1.1", HOST, TOKEN, LENGTH),
    "an offer of HTTP/2": request(LINE, HOST, TOKEN, b"Connection: upgrade", b"Upgrade: h2c", LENGTH),
    "an expectation, and the body at once": request(LINE, HOST, TOKEN, b"Expect: 100-continue", LENGTH),
    "a long token": request(LINE, HOST, TOKEN + b"a" * 8000, LENGTH),
}


@pytest.mark.parametrize("raw", TAKEN.values(), ids=TAKEN)
async def test_what_is_unusual_and_right_is_taken(raw: bytes, connect: Connect, scripted: ScriptedBackend) -> None:
    connection = await connect()

    assert (await connection.send(raw))[0] == 200
    assert (await connection.send(GOOD))[0] == 200
    for received in scripted.requests:
        assert received.path == "/v1/chat/completions"
        assert received.headers["authorization"].startswith("Bearer cpk_canary")
        assert received.json["messages"] == [{"role": "user", "content": "Hi"}]


async def test_http_1_0_is_answered_and_closed(connect: Connect) -> None:
    connection = await connect()

    assert (await connection.send(GOOD.replace(b"HTTP/1.1", b"HTTP/1.0")))[0] == 200
    assert await connection.reader.read() == b""


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked", b"Identity,chunked"])
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (LINE, 400),
        (b"POST /v1/messages/count_tokens HTTP/1.1", 400),
        (b"GET /v1/models HTTP/1.1", 200),
        (b"POST /v1/nothing HTTP/1.1", 404),
        (b"POST /api/event_logging/batch HTTP/1.1", 204),
    ],
)
async def test_a_connection_ends_where_the_end_of_a_body_is_in_doubt(
    line: bytes, status: int, coding: bytes, connect: Connect, scripted: ScriptedBackend
) -> None:
    connection = await connect()
    raw = request(line, HOST, TOKEN, b"Transfer-Encoding: " + coding, body=chunks(BODY))

    connection.writer.write(raw + GOOD)
    answers = await connection.reader.read()

    assert answers.count(b"HTTP/1.1 ") == 1
    found = int(answers.split()[1])
    # the parser refuses some of them itself
    assert found in (status, 400)
    assert b"Connection: close" in answers
    if found == 400:
        assert b"Transfer-Encoding" in answers
    assert scripted.requests == []


async def test_http_1_0_with_chunks_is_refused_and_closed(connect: Connect, scripted: ScriptedBackend) -> None:
    connection = await connect()
    raw = request(LINE.replace(b"1.1", b"1.0"), HOST, TOKEN, CHUNKED, body=chunks(BODY))

    status, _, answer = await connection.send(raw)

    assert (status, answer["error"]["message"]) == (
        400,
        "HTTP/1.0 has no Transfer-Encoding: send the request with Content-Length",
    )
    assert await connection.reader.read() == b""
    assert scripted.requests == []


async def test_a_model_with_line_ends_stays_inside_the_backends_json(
    connect: Connect, scripted: ScriptedBackend
) -> None:
    # without a list of models any name goes on
    scripted.models_status = 500
    connection = await connect()
    body = json.dumps(ask(model="a\r\nX-Evil: 1\r\n\r\nGET /")).encode()

    status, _, _ = await connection.send(request(LINE, HOST, TOKEN, b"Content-Length: %d" % len(body), body=body))

    assert status == 200
    [received] = scripted.requests
    assert received.json["model"] == "a\r\nX-Evil: 1\r\n\r\nGET /"
    assert "x-evil" not in received.headers


async def test_requests_sent_at_once_are_answered_in_their_order(connect: Connect, scripted: ScriptedBackend) -> None:
    connection = await connect()
    wrong = BODY.replace(b'"max_tokens"', b'"max_TOKENS"')
    health = request(b"GET /health HTTP/1.1", HOST, body=b"")

    connection.writer.write(GOOD + health + request(LINE, HOST, TOKEN, LENGTH, body=wrong) + GOOD)

    assert (await connection.answer())[2]["content"] == [{"type": "text", "text": "Hi"}]
    assert (await connection.answer())[2]["status"] == "ok"
    assert (await connection.answer())[2]["error"]["message"] == "max_tokens: Field required"
    assert (await connection.answer())[2]["content"] == [{"type": "text", "text": "Hi"}]
    assert len(scripted.requests) == 2


async def test_what_is_no_http_behind_a_good_request_costs_only_itself(
    connect: Connect, scripted: ScriptedBackend
) -> None:
    connection = await connect()
    connection.writer.write(GOOD)
    await scripted.asked.wait()

    assert (await connection.send(b"GARBAGE\r\n\r\n"))[0] == 200
    assert (await connection.answer())[0] == 400
    assert await connection.reader.read() == b""


async def test_a_request_may_come_byte_by_byte(connect: Connect) -> None:
    connection = await connect()
    for byte in GOOD:
        connection.writer.write(bytes([byte]))
        await connection.writer.drain()
        await asyncio.sleep(0)

    assert (await connection.answer())[0] == 200


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (b"", 0),
        (b"POST", 0),
        (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-A", 0),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /v1", 1),
    ],
    ids=["nothing", "a method", "a part of the headers", "a part behind a whole one"],
)
async def test_a_connection_without_a_whole_head_is_closed_in_time(sent: bytes, answers: int, tmp_path: Path) -> None:
    runner = web.AppRunner(make_app(load_settings({"backend_url": "http://127.0.0.1:9"}, {}, tmp_path)))
    await runner.setup()
    assert runner.server is not None
    manager, loop = runner.server, asyncio.get_running_loop()
    server = await loop.create_server(lambda: ServerProtocol(manager, loop=loop, keepalive_timeout=0.2), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

    writer.write(sent)

    assert (await reader.read()).count(b"HTTP/1.1 200 ") == answers
    writer.close()
    server.close()
    await runner.cleanup()


async def test_the_answer_to_what_is_no_http_is_not_lost_while_the_client_still_sends(connect: Connect) -> None:
    connection = await connect()

    connection.writer.write(b"GARBAGE\r\n\r\n" + b"x" * 8_000_000)

    assert (await connection.answer())[0] == 400
    assert await connection.reader.read() == b""


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"GARBAGE\r\n\r\n", "Invalid method encountered"),
        (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n", "Invalid character in Content-Length"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", "Got more than 8190 bytes when reading"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"canary" * 2000 + b"\r\n\r\n", "Got more than 8190 bytes when reading"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03canary", "Received HTTPS traffic on an HTTP port"),
    ],
    ids=["no HTTP", "length that is none", "long path", "long token", "TLS"],
)  # fmt: skip
async def test_what_is_no_http_gets_anthropics_error_and_is_not_logged(
    raw: bytes, message: str, tmp_path: Path
) -> None:
    settings = load_settings({"host_port": "0", "backend_url": "http://127.0.0.1:9"}, {}, tmp_path)
    with structlog.testing.capture_logs() as lines:
        async with listening(make_app(settings), settings) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(raw)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 400 ")
    assert b"request-id: req_" in head
    error = json.loads(body)
    assert error["type"] == "error"
    assert error["error"] == {
        "type": "invalid_request_error",
        "message": f"the request is not valid HTTP: {message}",
    }
    assert "canary" not in str(lines)
    assert "canary" not in body.decode()
