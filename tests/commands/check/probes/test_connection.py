import asyncio
import json
import os
import re
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.commands.check.conftest import MODEL, Able, Run, echo, error, hang_up

LISTED = {"object": "list", "data": [{"id": MODEL}]}
NOTHING = {"/v1/models": 404, "/v1/chat/completions": 404}
PAGE = {"text": "<html><title>LLM console</title></html>", "content_type": "text/html"}


@pytest.mark.parametrize(
    ("there", "given", "setting"),
    [
        ("/api/v1/models", "", "/api/v1"),
        ("/models", "", "/chat/completions"),
        ("/v1/models", "/openai/v1", "/v1"),
        ("/openai/v1/models", "/v2", "/openai/v1"),
    ],
)
async def test_a_wrong_path_is_told_with_the_right_one(
    there: str, given: str, setting: str, run: Run, able: Able
) -> None:
    able.paths = NOTHING | {there: web.json_response(LISTED)}

    checked = await run(able.url + given)

    row = checked.row("reachable")
    assert (checked.code, row["mark"]) == (1, "bad")
    assert row["said"] == f"nothing at {given or '/v1'}/models (404)"
    assert row["remedy"] == f"set BACKEND_URL={able.url}{setting}"


async def test_a_list_elsewhere_that_wants_a_key_is_found_too(able: Able, run: Run) -> None:
    able.paths = NOTHING | {"/api/v1/models": error(401, "no key")}

    checked = await run(able.url)

    assert checked.row("reachable")["remedy"] == f"set BACKEND_URL={able.url}/api/v1"


async def test_a_web_server_without_an_api_is_told(able: Able, run: Run) -> None:
    checked = await run(f"{able.url}/somewhere/v1/")
    able.paths = NOTHING
    nothing = await run(able.url)

    assert checked.row("reachable")["remedy"] == f"set BACKEND_URL={able.url}/v1"
    assert nothing.row("reachable")["said"] == (
        "a web server answers, but has neither /v1/models nor /v1/chat/completions"
    )
    assert nothing.row("reachable")["remedy"].startswith("set BACKEND_URL to the full path of chat completions")


async def test_a_web_page_in_front_of_an_api_is_told_with_the_way_to_it(able: Able, run: Run) -> None:
    able.paths = {"/v1/models": web.Response(**PAGE), "/api/v1/models": web.json_response(LISTED)}

    checked = await run(able.url)

    assert checked.row("reachable")["said"] == "a web page answers, not an API: “LLM console”"
    assert checked.row("reachable")["remedy"] == f"set BACKEND_URL={able.url}/api/v1"


@pytest.mark.parametrize(
    ("response", "said", "remedy"),
    [
        pytest.param(
            {"status": 301, "headers": {"Location": "https://new.example/v1/models?key=private-query"}},
            "it redirects to https://new.example/v1/models",
            "set BACKEND_URL to that address",
            id="redirect",
        ),
        pytest.param(
            {"status": 502, **PAGE},
            "it answers 502, with a web page: “LLM console”",
            "check the server's log: it may be starting, or only a proxy is running",
            id="proxy",
        ),
        pytest.param(
            {"status": 503, "text": "{}"},
            "it answers 503",
            "check the server's log: it may be starting, or only a proxy is running",
            id="starting",
        ),
    ],
)
async def test_answers_that_are_no_list(response: Any, said: str, remedy: str, able: Able, run: Run) -> None:
    able.paths = {"/v1/models": web.Response(**response)}

    checked = await run(able.url)

    row = checked.row("reachable")
    assert (checked.code, row["mark"], row["said"], row["remedy"]) == (1, "bad", said, remedy)


async def test_a_host_that_does_not_exist_is_told(run: Run) -> None:
    checked = await run("http://nowhere.invalid/v1")

    assert checked.row("reachable")["said"] == "the host 'nowhere.invalid' cannot be found"
    assert checked.row("reachable")["remedy"] == "check its spelling in BACKEND_URL, and your network"


async def test_a_proxy_that_would_be_needed_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:password-of-the-proxy@proxy.example:3128")

    checked = await run("http://nowhere.invalid/v1")

    assert checked.row("reachable")["remedy"].endswith("; HTTP_PROXY is set, but the gateway does not use proxies")
    assert "password-of-the-proxy" not in checked.text


async def test_a_connection_that_is_taken_and_not_answered(run: Run) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        checked = await run(f"http://127.0.0.1:{port}", patience=0.2)

    row = checked.row("reachable")
    said = f"127.0.0.1:{port} accepts the connection but sends no answer within 0.2 s"
    assert (checked.code, row["mark"], row["said"]) == (1, "bad", said)
    assert row["remedy"].startswith("check the port, and whether the server has loaded its model")


async def test_a_connection_that_does_not_come(run: Run) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Linux queues one connection more than the backlog, and then answers nobody
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        checked = await run(f"http://127.0.0.1:{port}", connect_timeout_secs="0.2")

    row = checked.row("reachable")
    assert (checked.code, row["mark"], row["said"]) == (1, "bad", f"no connection to 127.0.0.1:{port} within 0.2 s")
    assert row["remedy"] == "check the address in BACKEND_URL, and any firewall in between"


async def test_a_server_of_tls_asked_in_plain_http(tls_server: Any, run: Run) -> None:
    url, _ = await tls_server("127.0.0.1")

    checked = await run(url.replace("https:", "http:"))

    assert checked.row("reachable")["said"].endswith(" speaks TLS, not plain HTTP")
    assert checked.row("reachable")["remedy"] == "start BACKEND_URL with https://"


async def test_a_server_of_plain_http_asked_for_tls(able: Able, run: Run) -> None:
    checked = await run(able.url.replace("http:", "https:"))

    assert checked.row("reachable")["mark"] == "good"
    assert checked.row("tls")["said"] == "the port does not speak TLS"
    assert checked.row("tls")["remedy"] == "begin BACKEND_URL with http://, or use the TLS port"
    assert checked.code == 1


async def test_a_service_that_is_no_tls_server(run: Run) -> None:
    async with (
        await asyncio.start_server(echo, "127.0.0.1", 0) as repeats,
        await asyncio.start_server(hang_up, "127.0.0.1", 0) as leaves,
    ):
        repeated = await run(f"https://127.0.0.1:{repeats.sockets[0].getsockname()[1]}")
        port = leaves.sockets[0].getsockname()[1]
        left = await run(f"https://127.0.0.1:{port}")

    tls, connection = repeated.row("tls"), left.row("reachable")
    assert (tls["mark"], tls["remedy"]) == ("bad", "check that the port is the backend's TLS port")
    assert tls["said"].startswith("TLS fails: ")
    assert connection["said"] == f"127.0.0.1:{port} accepts the connection but breaks off the TLS handshake"
    assert connection["remedy"].startswith("correct the port in BACKEND_URL, or start it with http://")


async def test_an_address_without_a_way_to_it(run: Run) -> None:
    row = (await run("http://255.255.255.255")).row("reachable")

    # Linux reports one of two errors
    assert re.fullmatch("no connection to 255.255.255.255:80: (Network is unreachable|Permission denied)", row["said"])
    assert row["remedy"] == "check the address in BACKEND_URL, and your network"


YEAR = timedelta(days=365)
CERTIFICATES = {
    "good": ({}, True, "good", "TLSv1.3; the certificate is valid for 364 days", ""),
    "unknown authority": (
        {},
        False,
        "bad",
        "the certificate comes from an unknown authority",
        "SSL_CERT_FILE=",
    ),
    "expired": (
        {"not_after": -timedelta(days=1)},
        True,
        "bad",
        "the certificate has expired",
        "renew it at the backend",
    ),
    "soon to expire": (
        {"not_after": timedelta(days=3, hours=1)},
        True,
        "partly",
        "TLSv1.3; the certificate expires in 3 days",
        "renew it at the backend",
    ),
    "of another host": (
        {"names": ("other.test",)},
        True,
        "bad",
        "the certificate is not for this IP address",
        "use a host name from the certificate",
    ),
}


@pytest.fixture
def tls_server(able: Able, aiohttp_server: Any, tmp_path: Path) -> Any:
    """Serves the backend over TLS; gives its URL and the file with its CA certificate."""

    async def start(*names: str, not_after: timedelta = YEAR) -> tuple[str, Path]:
        authority = trustme.CA()
        certificate = authority.issue_cert(
            *names, not_before=datetime.now(UTC) - YEAR, not_after=datetime.now(UTC) + not_after
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        known = tmp_path / "authority.pem"
        authority.cert_pem.write_to_path(known)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", able.serve)
        server: TestServer = await aiohttp_server(app, ssl=context)
        return f"https://127.0.0.1:{server.port}", known

    return start


@pytest.mark.parametrize("case", CERTIFICATES)
async def test_certificates(case: str, tls_server: Any, tmp_path: Path) -> None:
    fields, known, mark, said, remedy = CERTIFICATES[case]
    names = fields.get("names", ("127.0.0.1",))
    url, authority = await tls_server(*names, **{key: value for key, value in fields.items() if key != "names"})

    # a process reads the list of trusted authorities when it starts
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "check", url, "--json",
        stdout=subprocess.PIPE, cwd=tmp_path, env=os.environ | ({"SSL_CERT_FILE": str(authority)} if known else {}),
    )  # fmt: skip
    out, _ = await process.communicate()

    row = next(row for row in json.loads(out)["checks"] if row["key"] == "tls")
    assert (row["mark"], row["said"]) == (mark, said)
    assert remedy in row["remedy"]
    assert process.returncode == (1 if mark == "bad" else 0)


async def test_plain_http_to_another_machine_is_said_to_be_open(able: Able, run: Run) -> None:
    # 127.0.0.2 leads to this machine, but is not one of the names that the check knows
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"data":[]}')
        writer.close()

    async with await asyncio.start_server(pass_on, "127.0.0.2", 0) as server:
        checked = await run(f"http://127.0.0.2:{server.sockets[0].getsockname()[1]}")

    row = checked.row("tls")
    assert (row["mark"], row["said"]) == (
        "partly",
        "plain HTTP: others on the network can read the key and all prompts",
    )
    assert row["remedy"].startswith("use https:// in BACKEND_URL")


@pytest.mark.parametrize(
    ("status", "said", "remedy"),
    [
        (401, "the key is refused (401: bad key)", "copy the whole key from the backend again"),
        (403, "the key is known but lacks the rights for this (403: bad key)", "give the key access to this model"),
        (402, "backend: bad key", "add credit to your account at the backend"),
    ],
)
async def test_a_key_that_is_refused_by_the_model_only(
    status: int, said: str, remedy: str, able: Able, run: Run
) -> None:
    able.refuse = lambda _: error(status, "bad key")

    checked = await run(able.url, token="cpk_123456789")

    row = checked.row("key")
    assert (checked.code, row["mark"]) == (1, "bad")
    assert row["said"].startswith(said)
    assert remedy in row["remedy"]


async def test_a_backend_without_room_is_told(able: Able, run: Run) -> None:
    able.refuse = lambda _: error(429, "slow down")

    checked = await run(able.url, backend_retries="0")

    assert checked.row("key")["mark"] == "unknown"
    said = "backend: slow down (the backend's limit for this key: wait, or send less at a time)"
    assert (checked.row("whole")["mark"], checked.row("whole")["said"]) == ("bad", said)
    assert checked.row("whole")["remedy"].startswith("wait a while and check again")


async def test_a_model_that_is_not_there_is_told_with_the_nearest(able: Able, run: Run) -> None:
    able.refuse = lambda body: None if body["model"] == MODEL else error(404, "The model does not exist.")

    checked = await run(able.url, model="Vendor/Model-2")

    row = checked.row("models")
    assert (checked.code, row["mark"]) == (1, "bad")
    assert row["said"] == "there is no model 'Vendor/Model-2' among 1"
    assert row["remedy"] == f"--model {MODEL}"


async def test_a_model_is_found_in_any_case(able: Able, run: Run) -> None:
    checked = await run(able.url, model=MODEL.upper())

    assert checked.document["model"] == MODEL


async def test_the_model_of_the_users_map_is_checked(able: Able, run: Run) -> None:
    able.models["data"].append({"id": "other"})

    checked = await run(able.url, model_map="default=other")

    assert checked.document["model"] == "other"


async def test_a_model_for_embeddings_is_not_the_one_that_is_asked(able: Able, run: Run) -> None:
    able.models["data"].insert(0, {"id": "nomic-embed-text"})

    checked = await run(able.url)

    assert checked.document["model"] == MODEL


async def test_an_empty_list_is_told(able: Able, run: Run) -> None:
    able.models["data"].clear()

    checked = await run(able.url)

    assert (checked.code, checked.row("models")["said"]) == (1, "the model list is empty")
    assert "ollama pull NAME" in checked.row("models")["remedy"]


async def test_a_backend_without_a_list_works_with_a_name(able: Able, run: Run) -> None:
    able.paths = {"/v1/models": 404}

    checked = await run(able.url, model="any-model")

    row = checked.row("models")
    assert (checked.code, row["mark"]) == (0, "partly")
    assert row["said"] == "the backend serves no model list; any-model answers"
    assert "name the model in its settings" in row["remedy"]


async def test_a_backend_without_a_list_wants_a_name(able: Able, run: Run) -> None:
    able.paths = {"/v1/models": 404}
    able.refuse = lambda body: error(404, "no such model") if body["model"] == "default" else None

    checked = await run(able.url)

    row = checked.row("models")
    assert (row["mark"], row["said"]) == ("bad", "the backend serves no model list")
    assert row["remedy"] == "name one of its models: --model NAME"
