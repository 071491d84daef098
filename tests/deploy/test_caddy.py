"""The Caddyfile at the top level, in real Caddy: Debian's, which is the oldest that it works with, and the current one."""

import asyncio
import io
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.relay.keep_alive import KeepAlive
from tests.conftest import (
    END,
    HELLO,
    TOKEN,
    ScriptedBackend,
    StartGateway,
    ask,
    events,
    read_until,
    silence,
    stream,
)
from tests.deploy.caddy import (
    CADDYFILE,
    CURRENT,
    MESSAGES,
    WHOLE,
    curl,
    environment,
    error_of,
    posting,
    url_of,
)
from tests.deploy.conftest import StartCaddy
from tests.e2e.conftest import HERE as E2E
from tests.e2e.conftest import demo_process, last_json_line, run
from tests.faults.conftest import until

pytestmark = [pytest.mark.caddy, pytest.mark.timeout(60)]

TLS = pytest.mark.parametrize("tls", ["false", "true", "internal"])
# a client that leaves frees the backend in milliseconds; a busy machine gets more
FREED_SECONDS = 2.0


@TLS
def test_the_file_is_valid(tls: str, caddy_program: str, tmp_path: Path) -> None:
    settings = {"CADDY_TLS": tls, "CADDY_DOMAIN": "gateway.example", "GATEWAY": "10.0.0.1:8080 10.0.0.2:8080"}
    command = (caddy_program, "validate", "--adapter", "caddyfile", "--config", str(CADDYFILE))

    checked = subprocess.run(
        command, env=environment(tmp_path, **settings), capture_output=True, text=True, check=False
    )

    assert (checked.returncode, "Valid configuration" in checked.stdout) == (0, True), checked.stderr
    warned = [line for line in checked.stderr.splitlines() if '"level":"warn"' in line]
    assert [line for line in warned if "admin endpoint disabled" not in line and "skipped because" not in line] == []


def test_the_file_is_formatted(caddy_program: str) -> None:
    formatted = subprocess.run((caddy_program, "fmt", str(CADDYFILE)), capture_output=True, text=True, check=False)

    assert formatted.stdout == CADDYFILE.read_text()


@TLS
async def test_the_first_event_arrives_while_the_backend_holds_the_rest(
    tls: str, scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO[:2], rest, HELLO[2], *END)]
    caddy = await start_caddy(gateway, tls=tls)

    async with caddy.session() as client:
        post = client.post(MESSAGES, json=ask(stream=True), headers={**TOKEN, "Accept-Encoding": "gzip, br, zstd"})
        async with post as response:
            first = await read_until(response, b'"Hel"')
            assert not rest.is_set()
            rest.set()
            received = first + await response.read()

    assert [name for name, _ in events(received)][-1] == "message_stop"
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert "Content-Encoding" not in response.headers


async def test_http_2(scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO[:2], rest, HELLO[2], *END)]
    caddy = await start_caddy(gateway, tls="true")

    async with curl(caddy, MESSAGES, "--http2", "-w", "%{http_version}", *posting(ask(stream=True))) as client:
        assert client.stdout is not None
        first = await client.stdout.readuntil(b'"Hel"')
        rest.set()
        received, version = (first + await client.stdout.read()).rsplit(b"\n\n", 1)

    assert version == b"2"
    assert [name for name, _ in events(received)][-1] == "message_stop"


async def test_http_3(scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy) -> None:
    pytest.importorskip("aioquic", reason="pip install aioquic")
    from tests.deploy.http3 import connected

    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO[:2], rest, HELLO[2], *END)]
    caddy = await start_caddy(gateway, tls="true")
    assert caddy.root is not None

    received = b""
    async with connected(caddy.port, caddy.root) as client:
        assert await client.post(caddy.port, MESSAGES, ask(stream=True), TOKEN) == 200
        async for piece in client.pieces():
            received += piece
            if b'"Hel"' in received:
                rest.set()

    assert [name for name, _ in events(received)][-1] == "message_stop"
    await until(lambda: caddy.requests, 5)
    assert caddy.requests[-1]["request"]["proto"] == "HTTP/3.0"


async def test_a_silence_of_ten_minutes_with_pings(
    scripted: ScriptedBackend, start_gateway: StartGateway, start_caddy: StartCaddy, tmp_path: Path
) -> None:
    shorter = 200
    keep_alive = KeepAlive(
        open_after=10 / shorter, ping_after=15 / shorter, heartbeat_after=100 / shorter, tick=1 / shorter
    )
    rest = asyncio.Event()
    scripted.answers = [stream(HELLO[0], rest, *HELLO[1:], *END)]
    gateway = await start_gateway(scripted.url, keep_alive=keep_alive)
    caddy = await start_caddy(url_of(gateway), caddyfile=_with_shorter_times(tmp_path, shorter))

    async with caddy.session() as client, client.post(MESSAGES, json=ask(stream=True), headers=TOKEN) as response:
        asyncio.get_running_loop().call_later(600 / shorter, rest.set)
        received = events(await response.read())

    names = [name for name, _ in received]
    assert names[-1] == "message_stop"
    assert names.count("ping") > 10


def _with_shorter_times(folder: Path, by: int) -> Path:
    """The Caddyfile with all limits on a connection's and a request's times so many times shorter."""
    limit = re.compile(r"\b(read_\w+|write\w*|idle|keepalive|response_\w+) (\d+)(s|m)\b")
    seconds = {"s": 1, "m": 60}
    shorter, found = limit.subn(
        lambda match: f"{match[1]} {int(match[2]) * seconds[match[3]] * 1000 // by}ms", CADDYFILE.read_text()
    )
    assert found == 3
    path = folder / "Caddyfile"
    path.write_text(shorter)
    return path


async def test_a_body_of_30_mb(scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy) -> None:
    scripted.answers = [WHOLE]
    caddy = await start_caddy(gateway)
    prompt = "word " * 6_000_000

    body = io.BytesIO(json.dumps(ask(prompt)).encode())
    async with caddy.session() as client, client.post(MESSAGES, data=body, headers=TOKEN) as response:
        assert (response.status, (await response.json())["stop_reason"]) == (200, "end_turn")

    assert scripted.requests[0].json["messages"] == [{"role": "user", "content": prompt}]


@pytest.mark.parametrize("framing", ["with its length", "in chunks"])
async def test_a_body_that_is_too_large(
    framing: str, scripted: ScriptedBackend, start_gateway: StartGateway, start_caddy: StartCaddy
) -> None:
    gateway = await start_gateway(scripted.url, max_body_mib="2")
    caddy = await start_caddy(url_of(gateway), MAX_BODY_MIB="2")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(2**20)

    body = io.BytesIO(bytes(3 * 2**20)) if framing == "with its length" else pieces()
    async with caddy.session() as client, client.post(MESSAGES, data=body, headers=TOKEN) as response:
        status, kind, message = await error_of(response)

    assert (status, kind) == (413, "request_too_large")
    assert message.startswith("the request body is larger than 2 MiB")
    assert "MAX_BODY_MIB" in message
    assert scripted.requests == []


@pytest.mark.parametrize("tls", ["false", "true"])
@pytest.mark.parametrize("stage", ["before the answer", "in the answer", "waiting for a whole answer"])
async def test_a_client_that_leaves_frees_the_backend(
    stage: str, tls: str, scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy
) -> None:
    never = asyncio.Event()
    in_answer = stage == "in the answer"
    scripted.answers = [stream(*HELLO, never) if in_answer else silence(never)]
    caddy = await start_caddy(gateway, tls=tls)
    body = ask(stream=stage != "waiting for a whole answer")

    async with curl(caddy, MESSAGES, *posting(body)) as client:
        await scripted.asked.wait()
        if in_answer:
            assert client.stdout is not None
            await client.stdout.readuntil(b'"lo"')
        assert not scripted.client_left.is_set()
        left = asyncio.get_running_loop().time()
        client.kill()
        await asyncio.wait_for(scripted.client_left.wait(), FREED_SECONDS)
        print(f"{stage}, TLS {tls}: {(asyncio.get_running_loop().time() - left) * 1000:.1f} ms")


@pytest.mark.parametrize("tls", ["false", "true"])
async def test_an_answer_ends_well_after_caddy_was_told_to_stop(
    tls: str, scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO[:2], rest, HELLO[2], *END)]
    caddy = await start_caddy(gateway, tls=tls)

    async with curl(caddy, MESSAGES, *posting(ask(stream=True))) as client:
        assert client.stdout is not None
        received = await client.stdout.readuntil(b'"Hel"')
        caddy.process.terminate()
        await until(lambda: any("shutting down" in line["msg"] for line in caddy.lines()), 5)
        rest.set()
        received += await client.stdout.read()

    assert [name for name, _ in events(received)][-1] == "message_stop"
    assert await caddy.process.wait() == 0


async def test_an_answer_that_breaks_off_is_told(
    caddy_version: str, scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy
) -> None:
    begun = asyncio.Event()
    scripted.answers = [stream(*HELLO, begun, cut=True)]
    caddy = await start_caddy(gateway)

    received, cut = bytearray(), False
    headers = TOKEN | {"User-Agent": "claude-cli/2.1.330 (external, cli)"}
    async with caddy.session() as client, client.post(MESSAGES, json=ask(stream=True), headers=headers) as response:
        # before that, the gateway would ask again
        begun.set()
        try:
            async for piece in response.content.iter_any():
                received += piece
        except aiohttp.ClientPayloadError:
            cut = True

    assert events(bytes(received))[-1][0] == "error"
    # before 2.8, Caddy ends every answer properly
    assert cut is (caddy_version == CURRENT)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("npm")
@pytest.mark.parametrize("tls", ["false", "internal"])
async def test_claude_code_reads_a_file_through_it(tls: str, start_caddy: StartCaddy, cache: Path) -> None:
    version = "2.1.330"
    async with demo_process() as url:
        caddy = await start_caddy(url, tls=tls)
        code, out, err = await run(
            "bash", str(E2E / "run_claude_code.sh"), caddy.url,
            CC_VERSION=version, CC_PREFIX=str(cache / f"claude-code-{version}"), CC_CA=str(caddy.root or ""),
        )  # fmt: skip
    if code == 3:
        pytest.skip(f"npm gives no claude-code {version}: {err[-300:]}")

    result = last_json_line(out)
    assert (code, result["pass"]) == (0, True), (result, err)
    assert (result["tools"], result["tools_ok"], result["api_retries"]) == (["Read"], 1, 0)
    assert {line["status"] for line in caddy.requests if line["request"]["uri"] == MESSAGES} == {200}
