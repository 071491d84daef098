import asyncio
import json
from pathlib import Path

import pytest
import structlog

from gateway.app import make_app
from gateway.serving.server import listening
from gateway.settings import load_settings


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"GARBAGE\r\n\r\n", "Invalid method encountered"),
        (b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", "Invalid character in Content-Length"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "Got more than 8190 bytes when reading"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"canary" * 2000 + b"\r\n\r\n", "Got more than 8190 bytes when reading"),
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
