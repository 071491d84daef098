"""Web pages of other sites, strangers behind a proxy, and clients that leave it open where their request ends."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.conftest import ask
from tests.faults.conftest import Process, backend, json_response, serve

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(60)]

WHOLE = json_response(
    json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode(), status=200
)
BODY = json.dumps(ask()).encode()
TOKEN = "Authorization: Bearer cpk_test"
KEY = "key-of-this-gateway"


async def send(gateway: Process, first: str, *fields: str, body: bytes = BODY) -> list[int]:
    """All statuses that come before the gateway closes the connection, which the last request asks for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    length = () if any(field.lower().startswith("transfer-encoding") for field in fields) else (
        f"Content-Length: {len(body)}",
    )  # fmt: skip
    writer.write("\r\n".join([first, *fields, *length, "", ""]).encode() + body)
    answers = await reader.read()
    writer.close()
    await writer.wait_closed()
    return [int(part.split(None, 1)[0]) for part in (b"\n" + answers).split(b"\nHTTP/1.1 ")[1:]] or [
        int(part.split(None, 1)[0]) for part in (b"\n" + answers).split(b"\nHTTP/1.0 ")[1:]
    ]


FOREIGN = [
    "evil.example", "EVIL.example.", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example",
    "localhost@evil.example", "[::ffff:8.8.8.8]", "134744072", "0x08080808:80", "0.0.0.0", "[::]", "",  # noqa: S104
]  # fmt: skip
OURS = [
    "localhost",
    "LOCALHOST.:{port}",
    "app.localhost",
    "127.0.0.1",
    "127.9.9.9",
    "[::1]:{port}",
    "[::ffff:127.0.0.1]",
]
TARGETS = ["POST /v1/messages", "POST /v1/messages/count_tokens", "POST /v1/v1/messages", "GET /v1/models", "GET /"]


@pytest.mark.parametrize("key", ["", "operator"])
async def test_a_page_that_rebinds_its_name_gets_nothing(key: str, folder: Path) -> None:
    async with backend() as served, serve(folder, BACKEND_URL=served.url, BACKEND_API_KEY=key) as gateway:
        served.whole = WHOLE
        for host in FOREIGN:
            for target in TARGETS:
                named = host.format(port=gateway.port)
                fields = (f"Host: {named}", f"Origin: http://{named}", TOKEN, "Content-Type: application/json")
                assert await send(gateway, f"{target} HTTP/1.1", *fields, "Connection: close") == [403], (host, target)
        absolute = "POST http://evil.example/v1/messages HTTP/1.1"
        assert await send(gateway, absolute, "Host: localhost", TOKEN, "Connection: close") == [403]
        for fields in (("Host: localhost", "Host: evil.example"), ("Host: evil.example", "Host: localhost"), ()):
            for version in ("1.0", "1.1"):
                (status,) = await send(
                    gateway, f"POST /v1/messages HTTP/{version}", *fields, TOKEN, "Connection: close"
                )
                assert status in (400, 403)
        assert served.asked.empty()

        for host in OURS:
            named = host.format(port=gateway.port)
            answer = await send(gateway, "POST /v1/messages HTTP/1.1", f"Host: {named}", TOKEN, "Connection: close")
            assert answer == [200], host
        assert served.asked.qsize() == len(OURS)


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, 403),
        ({"ALLOW_ANYONE": "true"}, 200),
        ({"GATEWAY_API_KEYS": KEY}, 200),
        ({"GATEWAY_API_KEYS": "another-key-of-a-client"}, 401),
    ],
    ids=str,
)
async def test_behind_a_proxy_the_operators_key_is_for_those_who_may(
    settings: dict[str, str], status: int, folder: Path
) -> None:
    async with (
        backend() as served,
        serve(folder, BACKEND_URL=served.url, BACKEND_API_KEY="operator", **settings) as gateway,
    ):
        served.whole = WHOLE
        for field in ("X-Forwarded-For: 9.9.9.9", "Forwarded: for=9.9.9.9", "Via: 1.1 caddy", "x-real-ip: 9.9.9.9"):
            fields = ("Host: localhost", field, f"x-api-key: {KEY}", "Connection: close")
            assert await send(gateway, "POST /v1/messages HTTP/1.1", *fields) == [status]


async def test_a_request_hidden_in_a_doubtful_body_is_not_answered(folder: Path) -> None:
    hidden = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (
        TOKEN.encode(),
        len(BODY),
        BODY,
    )
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    async with backend() as served, serve(folder, BACKEND_URL=served.url) as gateway:
        served.whole = WHOLE
        for coding in ("identity, chunked", "gzip, chunked", "chunked, identity", "chunked, chunked", "identity", "x"):
            for target in (*TARGETS, "POST /nothing"):
                fields = ("Host: localhost", TOKEN, f"Transfer-Encoding: {coding}")
                answers = await send(gateway, f"{target} HTTP/1.1", *fields, body=chunked + hidden)
                assert len(answers) == 1, (coding, target, answers)
        assert served.asked.empty()


async def test_a_hundred_thousand_keys_and_their_change(folder: Path) -> None:
    file = folder / "keys"
    many = "".join(f"sha256:{number:064x} name=client-{number} streams=4\n" for number in range(100_000))
    file.write_text(f"{many}{KEY}\n")
    fields = ("Host: localhost", f"x-api-key: {KEY}", "Connection: close")
    async with backend() as served, serve(folder, BACKEND_URL=served.url, GATEWAY_API_KEYS_FILE=str(file)) as gateway:
        served.whole = WHOLE
        assert await send(gateway, "POST /v1/messages HTTP/1.1", *fields) == [200]

        file.write_text(many)
        while await send(gateway, "POST /v1/messages HTTP/1.1", *fields) != [401]:
            pass
        file.write_bytes(b"x" * (17 << 20))
        while not gateway.told("keys not read again"):
            assert await send(gateway, "POST /v1/messages HTTP/1.1", *fields) == [401]
