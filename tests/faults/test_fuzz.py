"""Random requests: each gets a well-formed response with a legal body, never a 500, and harms no other."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.app import make_app
from gateway.commands.demo.backend import make_backend
from gateway.serving.server import listening
from gateway.settings import load_settings
from tests.conftest import ask, events
from tests.samples import recorded_requests

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER_SECONDS = 10.0
FUZZ = settings(max_examples=150, deadline=None, database=None)


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(port: int, sent: bytes) -> Response:
    """Send bytes, and read the first response to its end. Fails if that is no HTTP."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await _response(reader, bodiless=sent.startswith(b"HEAD "))
    finally:
        writer.close()


async def _response(reader: asyncio.StreamReader, *, bodiless: bool) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version in ("HTTP/1.1", "HTTP/1.0")
    if status == "100":
        return await _response(reader, bodiless=bodiless)
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    assert len(headers) == len(lines), "a header came twice"
    if bodiless:
        body = b""
    elif headers.get("transfer-encoding") == "chunked":
        body = await _chunks(reader)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Response(int(status), headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return body


def check(response: Response) -> None:
    """Fails for what no client of Anthropic's API would understand."""
    assert response.status < 500 or response.status in (502, 504, 529), response
    kind = response.headers.get("content-type", "").partition(";")[0]
    if not response.body:
        return
    if response.status >= 400:
        error = json.loads(response.body)
        assert error["type"] == "error", response
        assert error["error"]["type"].endswith("_error"), response
        assert error["error"]["message"], response
        assert error["request_id"] == response.headers["request-id"], response
    elif kind == "text/event-stream":
        names = [name for name, _ in events(response.body)]
        assert (names[0], names[-1]) == ("message_start", "message_stop"), response
    elif kind == "application/json":
        answer = json.loads(response.body)
        assert answer.get("type") in ("message", "model") or {"input_tokens", "data", "status"} & answer.keys(), (
            response
        )


def request(body: bytes, *, target: str = "/v1/messages") -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer cpk_test\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def send(port: int, sent: bytes) -> Response:
    """One request, checked; and that a good one is answered afterwards."""
    response = await exchange(port, sent)
    check(response)
    good = await exchange(port, request(json.dumps({**ask(), "model": "demo"}).encode()))
    assert good.status == 200
    return response


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """A gateway in front of the embedded backend, in this process."""
    server = TestServer(make_backend(tokens_per_second=0))
    await server.start_server()
    chosen = {"backend_url": str(server.make_url("/")), "host_port": "0", "request_timeout_secs": "0.2"}
    loaded = load_settings(chosen, {}, tmp_path_factory.mktemp("empty"))
    async with listening(make_app(loaded), loaded) as url:
        yield int(url.rpartition(":")[2])
    await server.close()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(["text", "image", "tool_use", "tool_result", "thinking", "document", "user", "assistant", "auto"])
)
keys = st.sampled_from(
    ["type", "text", "source", "content", "role", "id", "name", "input", "tool_use_id", "data", "media_type", "url"]
) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
GOOD: dict[str, list[Any]] = {
    "model": ["demo", "demo", "claude-demo"],
    "max_tokens": [1, 50],
    "messages": [
        [{"role": "user", "content": "Hi"}],
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "done"}]},
        ],
    ],
    "stream": [True, False],
    "system": ["Be brief", [{"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral"}}]],
    "tools": [[], [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]],
    "tool_choice": [{"type": "auto"}, {"type": "tool", "name": "look"}],
    "thinking": [{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}],
    "temperature": [0, 1],
    "top_p": [0.5],
    "top_k": [5],
    "stop_sequences": [["stop"]],
    "metadata": [{"user_id": "u"}],
    "output_config": [{"effort": "high"}],
    "context_management": [{"edits": []}],
    "container": ["c"],
    "mcp_servers": [[]],
    "service_tier": ["auto"],
}
good_bodies = st.fixed_dictionaries(
    {name: st.sampled_from(good) for name, good in list(GOOD.items())[:3]},
    optional={name: st.sampled_from(good) for name, good in list(GOOD.items())[3:]},
)


@st.composite
def mutated(draw: st.DrawFn, bodies: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """A body with one or two of its parts left out, doubled or replaced."""
    body = copy.deepcopy(draw(bodies))
    for _ in range(draw(st.integers(1, 2))):
        holder: Any = body
        # without these two, nothing else would be looked at
        at = draw(st.sampled_from([name for name in body if name not in ("model", "max_tokens")]))
        while _places(holder[at]) and draw(st.integers(0, 3)):
            holder = holder[at]
            at = draw(st.sampled_from(_places(holder)))
        how = draw(st.sampled_from(["delete", "double", "replace"]))
        if how == "delete" and holder is not body:
            del holder[at]
        elif how == "double" and isinstance(holder, list):
            holder.insert(at, copy.deepcopy(holder[at]))
        else:
            holder[at] = draw(values)
    return body


def _places(holder: Any) -> list[Any]:
    if isinstance(holder, dict):
        return list(holder)
    return list(range(len(holder))) if isinstance(holder, list) else []


@st.composite
def cut_up(draw: st.DrawFn) -> bytes:
    """The bytes of a body, some of them gone or replaced."""
    body = json.dumps(draw(good_bodies)).encode()
    start = draw(st.integers(0, len(body)))
    return body[:start] + draw(st.binary(max_size=6)) + body[start + draw(st.integers(0, 8)) :]


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A request whose head has lines left out, added or garbled; it always ends, and its body may not be there."""
    method = draw(st.sampled_from(["POST"] * 8 + ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "post"]))
    target = draw(
        st.sampled_from(
            ["/v1/messages", "/v1/messages?beta=true", "/v1/messages/count_tokens", "/v1/models", "/health"]
        )
        | st.sampled_from(
            ["/", "*", "//", "/v1/../health", "/%", "/v1/models/demo", "http://gateway/health", "/\u00fc"]
        )
        | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map("/".__add__)
    )
    version = draw(st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/9", "http/1.1", ""]))
    body = draw(st.sampled_from([BODY, BODY, b"", BODY[:20]]))
    usual = ["Host: localhost", "x-api-key: cpk_test", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    kept = [line for line in usual if draw(st.integers(0, 9))]
    lines = [line.encode("latin-1") for line in kept + draw(st.lists(st.sampled_from(LINES), max_size=2))]
    if not draw(st.integers(0, 5)):
        lines.append(draw(st.binary(max_size=30)))
    first = f"{method} {target} {version}".encode("latin-1")
    # what waits for more of a head gets an end of it
    return b"\r\n".join([first, *lines, b"", body]) + b"\r\n\r\n"


BODY = b'{"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}'
RECORDED = [body | {"model": "demo"} for body in recorded_requests().values()]
LINES = [
    "Host: localhost",
    "Authorization: Bearer cpk_other",
    "Authorization: Basic cpk_test",
    "x-api-key: cpk_test",
    "x-api-key:",
    "Content-Type: text/plain; charset=\u00fc",
    "Content-Length: 84",
    "Content-Length: 20",
    "Content-Length: -1",
    "Content-Length: 999999999999",
    "Content-Length: 8x",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Content-Encoding: gzip",
    "Content-Encoding: br",
    "Expect: 100-continue",
    "Connection: close",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Accept-Encoding: gzip, br",
    "Origin: http://evil.example",
    "anthropic-version: 2023-06-01",
    "anthropic-beta: " + "b" * 4000,
    "Range: bytes=0-5",
    "If-None-Match: *",
    " folded: yes",
    "no colon",
    "Ctl\u0001: x",
    "Host: two hosts",
]


@FUZZ
@given(body=mutated(good_bodies), target=st.sampled_from(["/v1/messages", "/v1/messages/count_tokens"]))
async def test_fields_of_any_type(body: dict[str, Any], target: str, port: int) -> None:
    await send(port, request(json.dumps(body).encode(), target=target))


@FUZZ
@given(body=mutated(st.sampled_from(RECORDED)))
async def test_requests_of_real_clients_with_changes(body: dict[str, Any], port: int) -> None:
    await send(port, request(json.dumps(body).encode()))


@FUZZ
@given(body=cut_up())
async def test_bodies_that_are_cut_up(body: bytes, port: int) -> None:
    await send(port, request(body))


@FUZZ
@given(sent=heads())
async def test_heads(sent: bytes, port: int) -> None:
    await send(port, sent)


@st.composite
def large_heads(draw: st.DrawFn) -> bytes:
    """A good request with a target and header fields that may be very long, or very many."""
    target = draw(st.sampled_from(["/v1/messages", "/v1/models/", "/v1/messages?", "/%2e%2e/"]))
    target += draw(st.sampled_from(["", "a", "%41", "/", "&a=b", "../"])) * draw(st.sampled_from([1, 100, 20_000]))
    lines = [b"Host: localhost", b"x-api-key: cpk_test", b"Content-Length: %d" % len(BODY)]
    for name in draw(
        st.lists(st.sampled_from(NAMES) | st.from_regex(r"[!#-\x27*+.^-z|~-]{1,9}", fullmatch=True), max_size=3)
    ):
        value = draw(st.sampled_from([b"a", b"a,", b'host="', b"a=b;", b"00-", b"\xff", b" ", b"[", b"1"]))
        line = name.encode() + b": " + value * draw(st.sampled_from([0, 1, 300, 9000]))
        lines += [line] * draw(st.sampled_from([1, 1, 50, 2000]))
    return b"\r\n".join([f"POST {target} HTTP/1.1".encode(), *lines, b"", BODY])


NAMES = [
    *("Host", "Forwarded", "X-Forwarded-Host", "X-Forwarded-For", "Origin", "Authorization", "x-api-key", "User-Agent"),
    *("traceparent", "tracestate", "anthropic-beta", "anthropic-version", "Accept-Encoding", "Cookie", "Content-Type"),
    *("Sec-Fetch-Site", "X-Claude-Code-Session-Id", "Content-Encoding", "Transfer-Encoding", "Connection"),
]


@settings(FUZZ, max_examples=100)
@given(sent=large_heads())
async def test_large_heads(sent: bytes, port: int) -> None:
    await send(port, sent)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model": "demo", "max_tokens": 5, "messages": ' + b"[" * 100_000, 400),
        (
            b'{"model": "demo", "max_tokens": 1' + b"0" * 400 + b', "messages": [{"role": "user", "content": "Hi"}]}',
            200,
        ),
        (b'{"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "\xff"}]}', 400),
        (b'{"model": "demo", "max_tokens": NaN, "messages": [{"role": "user", "content": "Hi"}]}', 400),
        (b'{"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}', 400),
        (b"", 400),
        (b"[]", 400),
    ],
    ids=["nested", "huge number", "half a surrogate", "no UTF-8", "NaN", "no model", "empty", "a list"],
)
async def test_odd_bodies(body: bytes, status: int, port: int) -> None:
    assert (await send(port, request(body))).status == status
