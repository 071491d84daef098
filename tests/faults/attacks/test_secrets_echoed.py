"""A backend repeats the key that it was sent, wherever it can: no client, log, span or page gets to see it."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import aiohttp
import pytest
import pytest_asyncio

from tests.conftest import HELLO, ask, chunk
from tests.faults.conftest import Backend, Process, backend, json_response, serve, session, until

pytestmark = [pytest.mark.attacks, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

KEY = 'bk-7+f/3"a9c1e5d2b8'
STATUS_KEY = "st-4e8d0c6b2a9f7e1d"
GATEWAY_KEY = "gk-1b3d5f7a9c2e4b6d"
PASSWORD = "pw-8c6a4e2f0d1b3a5c"
SECRETS = (KEY, STATUS_KEY, GATEWAY_KEY, PASSWORD)
UNICODE = re.compile(r"\\+u00([0-9a-f]{2})")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def forms(secret: str) -> list[str]:
    return [
        secret,
        f"Bearer {secret}",
        json.dumps(secret),
        json.dumps(secret).replace("/", "\\/"),
        "".join(f"\\u{ord(letter):04x}" for letter in secret),
        quote(secret, safe=""),
        b64encode(f"user:{secret}".encode()).decode(),
        f"https://user:{secret}@host/",
    ]


def gives_away(text: str) -> list[str]:
    """Where a text has eight characters of a secret, whatever they are written in."""
    readable = " ".join(
        [text, text.replace("\\", ""), unquote(text), UNICODE.sub(lambda match: chr(int(match[1], 16)), text)]
    )
    words = [word for secret in SECRETS for word in (secret, *in_base64(secret))]
    pieces = {word[at : at + 8] for word in words for at in range(len(word) - 7)}
    return [readable[max(0, readable.index(piece) - 50) :][:100] for piece in pieces if piece in readable]


def in_base64(secret: str) -> list[str]:
    return [b64encode(b" " * before + secret.encode()).decode()[4:-4] for before in range(3)]


@dataclass
class Line:
    gateway: Process
    backend: Backend
    seen: list[str] = field(default_factory=list)

    async def ask(self, client: aiohttp.ClientSession, token: str = GATEWAY_KEY, **fields: object) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with client.post(f"{self.gateway.url}/v1/messages", json=ask(**fields), headers=headers) as response:
            received = bytearray()
            try:
                async for piece in response.content.iter_any():
                    received += piece
            except aiohttp.ClientPayloadError:
                pass
            self.seen.append(f"{response.headers}{received.decode()}")
            return response.status


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def line(folder: Path) -> AsyncIterator[Line]:
    settings = {
        "BACKEND_API_KEY": KEY,
        "STATUS_KEY": STATUS_KEY,
        "GATEWAY_API_KEYS": f"{GATEWAY_KEY} name=team",
        "HTTPS_PROXY": f"http://me:{PASSWORD}@proxy:3128",
        "LOG_LEVEL": "debug",
        "OTEL_TRACES_EXPORTER": "none",
        "BACKEND_RETRIES": "0",
    }
    async with backend() as answering, serve(folder, BACKEND_URL=answering.url, **settings) as gateway:
        yield Line(gateway, answering)


def error(text: str) -> bytes:
    return json.dumps({"error": {"message": f"you sent {text}"}}).encode()


@pytest.mark.parametrize("secret", SECRETS, ids=["BACKEND_API_KEY", "STATUS_KEY", "GATEWAY_API_KEYS", "proxy"])
async def test_what_a_backend_repeats_goes_nowhere(line: Line, secret: str) -> None:
    async with session() as client:
        feed = await client.get(f"{line.gateway.url}/events", headers={"Authorization": f"Bearer {STATUS_KEY}"})
        for form in forms(secret):
            body = error(form)
            for status in (400, 401, 404, 429, 500):
                line.backend.whole = json_response(body, status=status)
                assert await line.ask(client) >= 400
            # neither JSON, nor whole: the text is cut in the middle of the secret
            line.backend.whole = json_response(("x" * 1_995 + form).encode(), status=400)
            await line.ask(client)
            line.backend.whole = json_response(("x" * 70 + form).encode())
            await line.ask(client)
            place = quote(form, safe=":/@")
            moved = f"HTTP/1.1 308 Moved\r\nLocation: https://u:{quote(secret)}@h/{place}\r\nContent-Length: 0\r\n\r\n"
            line.backend.whole = moved.encode().replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            await line.ask(client)
            for pieces in (
                (b"data: " + body + b"\n\n",),
                (*HELLO, b"event: error\ndata: " + body + b"\n\n"),
                (*HELLO, b"data: {" + form.encode() + b"\n\n"),
            ):
                line.backend.streamed = HEAD + b"".join(pieces)
                await line.ask(client, stream=True)
            line.backend.streamed = HEAD + b"".join(HELLO) + chunk({}, form)
            await line.ask(client, model=secret)
        await until(lambda: len(line.gateway.requests) >= len(line.seen), 5.0)
        # the page is told of it within a second
        told = b""
        async with asyncio.timeout(5.0):
            while told.count(b"\n\n") < 2:
                told += await feed.content.readany()
        feed.close()
    assert gives_away("".join(line.seen)) == []
    assert gives_away(line.gateway.log.read_text()) == []
    assert gives_away(told.decode()) == []


async def test_the_clients_token_is_not_logged(folder: Path, tmp_path: Path) -> None:
    token = "ct-5d7f9b1c3e5a7d9f"
    async with backend() as answering, serve(tmp_path, BACKEND_URL=answering.url, LOG_LEVEL="debug") as gateway:
        line = Line(gateway, answering)
        async with session() as client:
            for form in forms(token):
                line.backend.whole = json_response(error(form), status=400)
                assert await line.ask(client, token=token) == 400
            location = f"Location: https://u:{token}@h/{token}/{quote(token)}"
            line.backend.whole = (
                f"HTTP/1.1 308 M\r\n{location}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
            assert await line.ask(client, token=token) == 502
        await until(lambda: len(gateway.requests) == len(line.seen), 5.0)
        log = gateway.log.read_text()
    assert "you sent" in log
    assert not [token[at : at + 8] for at in range(len(token) - 7) if token[at : at + 8] in log]
