"""What the gateway says of itself at the start, by the real command: on a terminal a block, else a line each."""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.conftest import MODELS, ScriptedBackend
from tests.gateway_process import GATEWAY, python

Line = dict[str, Any]
Start = Callable[..., Awaitable[list[Line]]]
Serve = Callable[..., Awaitable[str]]
JSON_LIST = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"

# an address that does not look like this machine's own, and is: tests listen nowhere else
OPEN = "127.1"


async def started(folder: Path, last: str, **environment: str) -> str:
    """What `claude-gateway` prints at its start, up to the line with `last`."""
    printed = ""
    async with python(*GATEWAY, folder=folder, environment={"HOST_PORT": "0"} | environment) as process:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            while last not in printed:
                line = await process.stderr.readline()
                assert line, printed
                printed += line.decode()
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
    return printed


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """The lines of a start, as JSON, up to that of an event."""

    async def run(last: str, **environment: str) -> list[Line]:
        printed = await started(tmp_path, f'"event":"{last}"', **environment)
        return [json.loads(line) for line in printed.splitlines()]

    return run


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that answers each connection with some bytes; gives its address."""
    async with contextlib.AsyncExitStack() as stack:

        async def listen(answer: bytes, tls: ssl.SSLContext | None = None) -> str:
            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    await reader.read(4096)
                    writer.write(answer)
                    await writer.drain()
                writer.close()

            server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
            await stack.enter_async_context(server)
            return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield listen


async def test_it_says_where_it_listens_and_what_it_found(
    start: Start, scripted: ScriptedBackend, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"BACKEND_URL={scripted.url}\n")
    scripted.models = json.dumps({"data": [{"id": f"m{n}", "owned_by": "vllm"} for n in range(7)]}).encode()

    listening, found = await start("models found")

    assert (listening["event"], listening["level"]) == ("listening", "info")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", listening["url"])
    assert listening["backend"] == f"{scripted.url}/v1/chat/completions"
    assert (listening["profile"], listening["settings"]) == ("auto", str(tmp_path / ".env"))
    assert (found["models"], found["first"], found["profile"]) == (7, ["m0", "m1", "m2", "m3", "m4"], "vllm")


async def test_on_a_terminal_it_is_one_short_block(scripted: ScriptedBackend, tmp_path: Path) -> None:
    scripted.models = json.dumps({"data": [{"id": f"m{n}"} for n in range(6)] + [{"id": "\x1b[2J"}]}).encode()
    settings = {"LOG_FORMAT": "console", "BACKEND_URL": scripted.url, "BACKEND_PROFILE": "vllm", "METRICS_PORT": "0"}

    printed = await started(tmp_path, "models ", HOST=OPEN, **settings)

    assert re.fullmatch(
        rf"""claude-gateway \S+ listens on http://127\.0\.0\.1:\d+
  backend   {re.escape(scripted.url)}/v1/chat/completions \(profile vllm\)
  metrics   http://127\.0\.0\.1:\d+/metrics
  ! everybody who can reach 127\.1 can use this gateway with a key for the backend
    → give out keys with GATEWAY_API_KEYS or GATEWAY_API_KEYS_FILE, or listen on HOST=127\.0\.0\.1
  models    7: m0, m1, m2, m3, m4 and 2 more \(profile vllm\)
""",
        printed,
    )


async def test_with_workers_one_speaks_for_all(scripted: ScriptedBackend, tmp_path: Path) -> None:
    settings = {"LOG_FORMAT": "console", "BACKEND_URL": scripted.url, "WORKERS": "2"}

    block = await started(tmp_path, "listens on", **settings)

    assert re.search(r"listens on http://127\.0\.0\.1:\d+ with 2 workers\n", block)


async def test_models_that_come_later_are_told_when_they_come(tmp_path: Path, scripted: ScriptedBackend) -> None:
    answers = [(503, b'{"error": "loading"}'), (503, b'{"error": "loading"}'), (200, json.dumps(MODELS).encode())]

    async def later() -> None:
        for status, body in answers:
            scripted.models_status, scripted.models = status, body
            scripted.was_listed.clear()
            await scripted.was_listed.wait()

    follow = asyncio.create_task(later())
    printed = await started(tmp_path, "models found", BACKEND_URL=scripted.url)
    await follow

    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["event"] for line in lines] == ["listening", "backend not reached", "models found"]
    assert lines[1]["reason"] == "the backend answers 529 when asked for its models"


@pytest.mark.parametrize(
    ("status", "body", "settings", "event", "reason"),
    [
        (401, b'{"error": "bad cpk_secret"}', {"BACKEND_API_KEY": "cpk_secret"}, "key refused",
         "the backend refuses BACKEND_API_KEY for its list of models (401)"),
        (401, b'{"error": "no key"}', {}, "models not known yet",
         "the list requires a key: each client's token will be used"),
        (200, b'{"data": []}', {}, "no models", "the backend's list of models is empty"),
        (200, b"hello", {}, "backend not reached", r"the backend's model list at \S+/v1/models cannot be read .*"),
        (404, b"{}", {}, "no model list",
         r"the backend has no model list at \S+/v1/models: if requests also fail, correct the path in BACKEND_URL"),
    ],
)  # fmt: skip
async def test_a_list_that_does_not_come_is_told(
    status: int, body: bytes, settings: dict[str, str], event: str, reason: str, scripted: ScriptedBackend, start: Start
) -> None:
    scripted.models_status, scripted.models = status, body

    *_, line = await start(event, BACKEND_URL=scripted.url, **settings)

    assert re.fullmatch(reason if "\\" in reason else re.escape(reason), line["reason"])
    assert line["level"] == ("info" if event == "models not known yet" else "warning")
    assert "cpk_secret" not in str(line)


async def test_a_web_page_is_told(serve: Serve, start: Start) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
    where = await serve(page)

    *_, line = await start("backend not reached", BACKEND_URL=f"http://{where}")

    assert line["reason"] == (
        f"a web page answers at http://{where}/v1/models (200), not an API: correct the port or the path in BACKEND_URL"
    )
    assert line["remedy"] == f"claude-gateway check http://{where}/v1/chat/completions shows more"


async def test_a_port_of_another_service_is_told(serve: Serve, start: Start) -> None:
    where = await serve(b"-ERR unknown command\r\n")

    *_, line = await start("backend not reached", BACKEND_URL=f"http://{where}")

    assert line["reason"] == (
        f"the server at http://{where}/v1/chat/completions does not speak HTTP: correct the port in BACKEND_URL, or its "
        "https://"
    )


async def test_a_port_that_nobody_listens_at_is_told(start: Start) -> None:
    *_, line = await start("backend not reached", BACKEND_URL="http://127.0.0.1:9")

    assert line["reason"].endswith("(Connection refused): is it running? Start it, or correct BACKEND_URL")


async def test_a_host_that_cannot_be_found_is_told_and_a_proxy_that_is_not_used(start: Start) -> None:
    proxy = "http://user:password-of-the-proxy@proxy.example:3128"
    lines = await start("backend not reached", BACKEND_URL="https://nowhere.invalid", HTTPS_PROXY=proxy)

    assert [line["event"] for line in lines] == ["listening", "proxy not used", "backend not reached"]
    assert lines[1]["reason"] == "HTTPS_PROXY is set but not used: the gateway connects to nowhere.invalid directly"
    assert lines[2]["reason"] == (
        "the backend's host 'nowhere.invalid' cannot be found: check its spelling in BACKEND_URL, and the network"
    )
    assert "password-of-the-proxy" not in str(lines)


@pytest.mark.parametrize(
    ("url", "environment"),
    [("http://127.0.0.1:9", {"HTTP_PROXY": "http://p:1"}), ("http://h.invalid", {"ALL_PROXY": "", "NO_PROXY": "*"}),
     ("http://h.invalid", {"HTTP_PROXY": "http://p:1", "NO_PROXY": ".invalid"})],
    ids=["backend on this machine", "none", "a host without proxy"],
)  # fmt: skip
async def test_a_proxy_that_is_not_for_the_backend_is_not_told(
    url: str, environment: dict[str, str], start: Start
) -> None:
    lines = await start("backend not reached", BACKEND_URL=url, **environment)

    assert [line["event"] for line in lines] == ["listening", "backend not reached"]


async def test_plain_http_to_a_port_of_tls_is_told(serve: Serve, start: Start) -> None:
    where = await serve(b"", server_tls("127.0.0.1"))

    *_, line = await start("backend not reached", BACKEND_URL=f"http://{where}")

    assert line["reason"] == (
        f"the backend at http://{where}/v1/chat/completions speaks TLS, not plain HTTP: begin BACKEND_URL with https://"
    )


CA = trustme.CA()


def server_tls(*names: str, expires: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(*names, not_after=expires).configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("names", "expires", "trusted", "told"),
    [
        (("127.0.0.1",), None, False,
         "the certificate comes from an unknown authority; give the CA's certificate, or the certificate "
         "itself, to the gateway: SSL_CERT_FILE=/path/to/ca.pem"),
        (("127.0.0.1",), datetime.now(UTC) - timedelta(days=1), True,
         "the certificate has expired; renew it at the backend, or check this machine's clock"),
        (("other.example",), None, True,
         "the certificate is not for this IP address; use a host name from the certificate in BACKEND_URL"),
        (None, None, True, "the port does not speak TLS; begin BACKEND_URL with http://, or use the TLS port"),
    ],
    ids=["unknown CA", "expired", "wrong host", "no TLS"],
)  # fmt: skip
async def test_what_is_wrong_with_tls_is_told(
    names: tuple[str, ...] | None, expires: datetime | None, trusted: bool, told: str,
    serve: Serve, start: Start, tmp_path: Path,
) -> None:  # fmt: skip
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = server_tls(*names, expires=expires) if names else None
    where = await serve(b"HTTP/1.1 400 Bad Request\r\n\r\n", tls)
    environment = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")} if trusted else {}

    *_, line = await start("backend not reached", BACKEND_URL=f"https://{where}", **environment)

    assert line["reason"] == f"no secure connection to the backend at https://{where}/v1/chat/completions: {told}"


async def test_a_certificate_that_is_trusted_is_no_trouble(serve: Serve, start: Start, tmp_path: Path) -> None:
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    body = json.dumps(MODELS).encode()
    where = await serve(JSON_LIST % (len(body), body), server_tls("127.0.0.1"))

    lines = await start("models found", BACKEND_URL=f"https://{where}", SSL_CERT_FILE=str(tmp_path / "ca.pem"))

    assert [line["event"] for line in lines] == ["listening", "models found"]


@pytest.mark.parametrize("key", ["GATEWAY_API_KEYS", "GATEWAY_API_KEYS_FILE"])
async def test_with_keys_or_on_loopback_it_is_not_open_to_others(key: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("gk_alice_4711_4711\n")
    value = "gk_alice_4711_4711" if key == "GATEWAY_API_KEYS" else str(tmp_path / "keys")
    lines = await start("backend not reached", BACKEND_URL="http://127.0.0.1:9", HOST=OPEN, **{key: value})

    assert [line["event"] for line in lines] == ["listening", "backend not reached"]


async def test_a_key_that_is_open_to_anyone_is_told(start: Start) -> None:
    settings = {"BACKEND_API_KEY": "cpk_secret", "ALLOW_ANYONE": "true", "HOST": OPEN}
    lines = await start("backend not reached", BACKEND_URL="http://127.0.0.1:9", **settings)

    assert lines[1]["reason"] == "everybody who can reach 127.1 can use this gateway, and BACKEND_API_KEY with it"
