"""`claude-gateway health`, against servers on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from gateway.app import make_app
from gateway.cli import main
from gateway.serving.server import listening
from gateway.settings import load_settings
from tests.conftest import ScriptedBackend

Out = tuple[int, str, str]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder and no settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOST", "HOST_PORT"):
        monkeypatch.delenv(name, raising=False)


async def health(capsys: pytest.CaptureFixture[str], *arguments: str) -> Out:
    try:
        code = await asyncio.to_thread(main, ["health", *arguments])
    except SystemExit as wrong_flag:
        code = int(str(wrong_flag.code))
    out, err = capsys.readouterr()
    return code, out, err


@asynccontextmanager
async def serving(tmp_path: Path, backend: str, host: str) -> AsyncIterator[str]:
    """A gateway; gives its port."""
    settings = load_settings({"host": host, "host_port": "0", "backend_url": backend}, {}, tmp_path)
    # its log would mix with the output
    with structlog.testing.capture_logs():
        async with listening(make_app(settings), settings) as url:
            yield url.rpartition(":")[2]


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[str]:
    """A server that is not a gateway; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield str(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize(("host", "asked"), [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")])
async def test_a_gateway_that_serves_is_healthy(
    host: str, asked: str, scripted: ScriptedBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, scripted.url, host) as port:
        result = await health(capsys, "--host", host, "--host-port", port)

    assert result == (0, f"http://{asked}:{port}/health: ok\n", "")


@pytest.mark.parametrize(
    ("host", "listens", "shown"),
    [("0.0.0.0", "127.0.0.1", "127.0.0.1"), ("::", "::1", "[::1]"), ("::1", "::1", "[::1]")],  # noqa: S104 - loopback is bound
)
async def test_where_the_gateway_listens_on_all_addresses_loopback_is_asked(
    host: str,
    listens: str,
    shown: str,
    scripted: ScriptedBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if ":" in listens and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with serving(tmp_path, scripted.url, listens) as port:
        monkeypatch.setenv("HOST", host)
        monkeypatch.setenv("HOST_PORT", port)
        result = await health(capsys)

    assert result == (0, f"http://{shown}:{port}/health: ok\n", "")


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


async def test_settings_that_concern_others_are_not_looked_at(
    scripted: ScriptedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, scripted.url, "127.0.0.1") as port:
        monkeypatch.setenv("WORKERS", "many")
        result = await health(capsys, "--host-port", port)

    assert result[0] == 0


async def test_ready_once_the_backend_was_reached(
    scripted: ScriptedBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, scripted.url, "127.0.0.1") as port:
        await asyncio.wait_for(scripted.was_listed.wait(), 10)
        async with asyncio.timeout(10):
            while (result := await health(capsys, "--ready", "--host-port", port))[0]:  # noqa: ASYNC110 - it asks over HTTP
                await asyncio.sleep(0.01)

    assert result == (0, f"http://127.0.0.1:{port}/ready: ready\n", "")


async def test_not_ready_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9", "127.0.0.1") as port:
        result = await health(capsys, "--ready", "--host-port", port)

    assert result == (
        1,
        f"http://127.0.0.1:{port}/ready: not ready: the backend has not been reached yet\n",
        "",
    )


async def test_nobody_at_the_port(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    result = await health(capsys, "--host-port", str(port))

    assert result == (1, "", f"claude-gateway: http://127.0.0.1:{port}/health: Connection refused\n")


async def test_silence_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = await health(capsys, "--host-port", str(port), "--timeout", "0.05")

    assert result == (1, "", f"claude-gateway: http://127.0.0.1:{port}/health: timed out\n")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "status 200, but the answer is not a gateway's"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "status 200, but the answer is not a gateway's"),
        (b"HTTP/1.1 404 No\r\n\r\n{}", "status 404, but the answer is not a gateway's"),
        (b"SSH-2.0\r\n\r\n", "SSH-2.0"),
        (b"", "Remote end closed connection without response"),
    ],
    ids=["text", "other JSON", "404", "no HTTP", "nothing"],
)
async def test_who_answers_is_no_gateway(raw: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with answering(raw) as port:
        code, out, err = await health(capsys, "--host-port", port)

    assert (code, out) == (1, "")
    assert err.startswith(f"claude-gateway: http://127.0.0.1:{port}/health: {words}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host-port", "0"], "HOST_PORT=0: the gateway's port must be known: give --host-port"),
        (["--host-port", "x"], "HOST_PORT=x: must be a port from 0 to 65535"),
        (["--timeout", "0"], "argument --timeout: 0: must be a number of seconds greater than 0"),
        (["--timeout", "soon"], "argument --timeout: soon: must be a number of seconds greater than 0"),
    ],
)
async def test_what_cannot_be_asked_is_said(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = await health(capsys, *arguments)

    assert code == 2
    assert words in err
