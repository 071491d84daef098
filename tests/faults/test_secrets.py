"""No secret, prompt or answer gets where it does not belong.

Each input of a real process holds a mark of its own. After all that can go well or wrong, each mark must be in just the
places that the table gives: the log, the answers, the errors, the headers, the probes, the command line, the backend.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import Answer, Received, ScriptedBackend, chunk, read_until, respond, stream
from tests.gateway_process import GATEWAY, python

_SECONDS = 20.0
# of a mark, so many characters in a row give it away
_PART = 8

# Places: "log" is all but the debug lines, "debug" these; "answer" is what a client gets with a 200, "error" what it
# gets else, in the stream, too; "headers" are the response's, and "probe" is what /health, /ready and / say.
BELONGS: dict[str, set[str]] = {
    "token": {"backend"},
    "x-api-key": {"backend"},
    "key of the backend": {"backend"},
    "key of the gateway": set(),
    "key in a file": set(),
    "wrong key": set(),
    "token of Anthropic": set(),
    "token with a blank": set(),
    "query of the backend": {"backend"},
    "wrong address of the backend": set(),
    "key without a comma": set(),
    "query": set(),
    "path": {"error", "feed", "log"},
    "cookie": set(),
    "referer": set(),
    "x-forwarded-for": set(),
    "user-agent": set(),
    "anthropic-beta": set(),
    "x-something": set(),
    # the name that the backend has for its model
    "model": {"answer", "backend", "error", "feed", "log"},
    # of a model that is not there: who set it must find it
    "wrong model": {"error", "feed", "log"},
    # where only a word of the protocol can stand, 40 characters of a wrong one are named
    "wrong role": {"error", "feed", "log"},
    "repeated key": {"error", "feed", "log"},
    "wrong expectation": {"error", "feed", "log"},
    "system": {"backend"},
    "user": {"backend"},
    "assistant": {"backend"},
    "thinking": {"backend"},
    "tool's name": {"backend", "answer"},
    "tool's description": {"backend"},
    "tool's schema": {"backend"},
    "tool's input": {"backend"},
    "tool's result": {"backend"},
    "image": {"backend"},
    "text document": {"backend"},
    "document's title": {"backend"},
    "PDF document": set(),
    "stop sequence": {"backend"},
    "user's id": set(),
    "unknown field": set(),
    "unknown block": set(),
    "body that is no JSON": set(),
    "body of a wrong type": set(),
    "body that is too large": set(),
    "body that is no gzip": set(),
    "broken request line": set(),
    "broken version": set(),
    "broken header": set(),
    "header without a colon": set(),
    "broken length": set(),
    "broken chunk": set(),
    "header that is too long": set(),
    "text of the answer": {"answer"},
    "thinking of the answer": {"answer"},
    "input of the answer": {"answer"},
    # an answer that is no JSON is shown from its beginning on
    "id of the answer": {"debug", "error"},
    "header of the backend": set(),
    "reason of the backend": set(),
    "400 of the backend": {"debug", "error"},
    "401 of the backend": {"debug", "error"},
    "429 of the backend": {"debug", "error"},
    "500 of the backend": {"debug", "error"},
    "overflow of the backend": {"debug", "error"},
    "error in the stream": {"debug", "error"},
    "garbage": {"debug", "error"},
    "garbage in the stream": {"debug", "error"},
}
PLACES = ("answer", "backend", "command line", "debug", "error", "feed", "headers", "log", "probe")

# aiohttp's server adds the first two
ALWAYS = {"date", "server", "content-type", "request-id"}
RESPONSE_HEADERS = {
    "answer": ALWAYS | {"content-length"},
    "stream": ALWAYS | {"cache-control", "transfer-encoding", "x-accel-buffering"},
    "error": ALWAYS | {"content-length", "x-should-retry"},
}
CHAT_HEADERS = {"host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "user-agent"}
LIST_HEADERS = {"host", "authorization", "accept", "accept-encoding", "user-agent"}


def mark(name: str) -> str:
    """A word of 24 characters that stands nowhere else; it fits into a key, a header, and base64."""
    assert name in BELONGS, name
    return sha256(name.encode()).hexdigest()[:24]


def holds(text: str, name: str) -> bool:
    """Whether the mark, or a part of it, is in a text: as it is, or in base64."""
    word = mark(name)
    packed = [base64.b64encode(b" " * shift + word.encode())[4:-4].decode() for shift in range(3)]
    return any(piece in text for whole in (word, *packed) for piece in _pieces(whole))


def _pieces(word: str) -> Iterable[str]:
    return (word[start : start + _PART] for start in range(len(word) - _PART + 1))


TOOL = "tool_" + mark("tool's name")
REQUEST: dict[str, Any] = {
    "model": mark("model"),
    "max_tokens": 100,
    "system": [{"type": "text", "text": mark("system")}],
    "metadata": {"user_id": mark("user's id")},
    "stop_sequences": [mark("stop sequence")],
    "something": {"new": mark("unknown field")},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tools": [
        {
            "name": TOOL,
            "description": mark("tool's description"),
            "input_schema": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": mark("tool's schema")}},
            },
        }
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": mark("user")},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": mark("image")}},
                {
                    "type": "document",
                    "title": mark("document's title"),
                    "source": {"type": "text", "media_type": "text/plain", "data": mark("text document")},
                },
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": mark("PDF document")},
                },
                {"type": "something_new", "value": mark("unknown block")},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": mark("thinking"), "signature": "claude-gateway"},
                {"type": "text", "text": mark("assistant")},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": TOOL,
                    "input": {"city": mark("tool's input")},
                },
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": mark("tool's result")}],
        },
    ],
}
HEADERS = {
    "Cookie": f"session={mark('cookie')}",
    "Referer": f"http://localhost/{mark('referer')}",
    "X-Forwarded-For": mark("x-forwarded-for"),
    "User-Agent": mark("user-agent"),
    "anthropic-beta": mark("anthropic-beta"),
    "X-Something": mark("x-something"),
}
TOKEN = {"Authorization": f"Bearer {mark('token')}"}
PATH = f"/v1/messages?beta={mark('query')}"

CALL = {
    "index": 0,
    "id": "call_1",
    "function": {"name": TOOL, "arguments": json.dumps({"city": mark("input of the answer")})},
}
SAID = {
    "role": "assistant",
    "content": mark("text of the answer"),
    "reasoning_content": mark("thinking of the answer"),
    "tool_calls": [CALL],
}
WHOLE = {"id": mark("id of the answer"), "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}]}
OTHER = {"Set_Cookie": mark("header of the backend"), "X_Secret": mark("header of the backend")}
BEGUN = chunk(SAID, id=mark("id of the answer"))


def said(name: str) -> bytes:
    return json.dumps({"error": {"message": f"no: {mark(name)}", "type": "any"}}).encode()


def answers() -> list[tuple[bool, Answer]]:
    """What the backend does, each with whether it is asked for a stream."""
    both = [
        respond(said("400 of the backend"), status=400, **OTHER),
        respond(said("401 of the backend"), status=401, **OTHER),
        respond(said("429 of the backend"), status=429, **OTHER),
        respond(said("500 of the backend"), status=500, **OTHER),
        respond(
            json.dumps({"error": {"message": f"maximum context length is 9 tokens: {mark('overflow of the backend')}"}})
            .encode(),
            status=400,
        ),
        respond(mark("garbage").encode(), kind="text/plain"),
        closed,
    ]  # fmt: skip
    error = b'data: {"error": {"message": "%b"}}\n\n' % mark("error in the stream").encode()
    garbage = b"data: {%b\n\n" % mark("garbage in the stream").encode()
    streams = [
        stream(BEGUN, chunk({}, "tool_calls"), b"data: [DONE]\n\n"),
        stream(BEGUN, cut=True),
        stream(BEGUN, error),
        stream(BEGUN, garbage),
        stream(error),
        stream(garbage),
    ]
    whole = [respond(json.dumps(WHOLE).encode(), **OTHER), respond(json.dumps(WHOLE).encode()[:-9])]
    return [
        *((False, answer) for answer in (*whole, *both)),
        *((True, answer) for answer in (*streams, *both)),
    ]


async def closed(_: asyncio.StreamWriter) -> None:
    """The backend hangs up."""


def _post(body: bytes, *lines: str) -> bytes:
    head = (
        "POST /v1/messages HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Authorization: Bearer {mark('token')}",
        *lines,
        "",
        "",
    )
    return "\r\n".join(head).encode() + body


def _get(line: str, *lines: str) -> bytes:
    return "\r\n".join((line, "Host: localhost", *lines, "", "")).encode()


BYTES = [
    _get(f"G\x01ET /{mark('broken request line')} HTTP/1.1"),
    _get(f"/{mark('broken request line')}"),
    _get(f"{mark('broken request line')} {mark('broken request line')} {mark('broken request line')}"),
    _get(f"GET / HTTP/{mark('broken version')}"),
    _get("GET / HTTP/1.1", f"Author\x01ization: {mark('broken header')}"),
    _get("GET / HTTP/1.1", f"Authorization: {mark('broken header')}\x01"),
    _get("GET / HTTP/1.1", f"Authorization {mark('header without a colon')}"),
    _get("GET / HTTP/1.1", f"Authorization: {mark('header that is too long') * 2000}"),
    _post(b"", f"Content-Length: {mark('broken length')}"),
    _post(mark("broken chunk").encode() + b"\r\n\r\n", "Transfer-Encoding: chunked"),
    _post(mark("body that is no gzip").encode(), "Content-Length: 24", "Content-Encoding: gzip"),
    _post(f'{{"system": "{mark("body that is no JSON")}", '.encode().ljust(60), "Content-Length: 60"),
    _post(f'{{"messages": "{mark("body of a wrong type")}"}}'.encode().ljust(60), "Content-Length: 60"),
    _post(
        f'{{"model": "m", "messages": [], "{mark("repeated key")}": 1, "{mark("repeated key")}": 2}}'.encode().ljust(
            99
        ),
        "Content-Length: 99",
    ),
    _post(b"", "Content-Length: 9", f"Expect: {mark('wrong expectation')}"),
    _post(mark("body that is too large").encode() * 50_000, "Content-Length: 1200000"),
]


@dataclass
class Seen:
    """What came out where."""

    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    headers: dict[str, set[frozenset[str]]] = field(default_factory=lambda: defaultdict(set))

    def where(self, name: str) -> set[str]:
        return {place for place in PLACES if any(holds(text, name) for text in self.places[place])}

    def response(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.places["headers"].append(str(response.raw_headers) + str(response.reason))
        names = frozenset(name.lower() for name in response.headers)
        answer, _, error = body.decode().partition("event: error")
        if response.status >= 400:
            answer, error = "", answer
            # not with each: when to come again, and that the gateway is about to leave
            self.headers["error"].add(names - {"retry-after", "connection"})
        else:
            self.headers["stream" if "event-stream" in response.content_type else "answer"].add(names)
        self.places["answer"].append(answer)
        self.places["error"].append(error)

    def log(self, text: str) -> None:
        for line in text.splitlines():
            debug = '"level":"debug"' in line or "[debug " in line
            self.places["debug" if debug else "log"].append(line)

    def backend(self, requests: Iterable[Received]) -> None:
        self.places["backend"] += [f"{request.path} {request.headers} {request.body!r}" for request in requests]


@asynccontextmanager
async def gateway(folder: Path, seen: Seen, **settings: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """`python -m gateway`; gives its URL. What it wrote is in `seen` afterwards."""
    log = folder / "log"
    settings = {"HOST_PORT": "0", "MAX_BODY_MIB": "1", "SHUTDOWN_GRACE_SECS": "0.2", "BACKEND_RETRIES": "0"} | settings
    with log.open("wb") as file:
        async with python(*GATEWAY, folder=folder, environment=settings, stdout=file, stderr=file) as process:
            await until(lambda: re.search("listen(?:ing|s on)", log.read_text()) or process.returncode is not None)
            found = re.search(r"(?:\burl\W+|listens on )(http://[\d.]+:\d+)", log.read_text())
            assert found is not None, log.read_text()
            seen.places["command line"].append(_command_line(process.pid))
            yield found[1], process
            if process.returncode is None:
                process.terminate()
            assert await asyncio.wait_for(process.wait(), _SECONDS) == 0
    seen.log(log.read_text())


def _command_line(pid: int) -> str:
    """What every user of the machine can read, where there is such a file."""
    line = Path(f"/proc/{pid}/cmdline")
    return line.read_text() if line.exists() else ""


async def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(_SECONDS):
        while not holds():  # noqa: ASYNC110  # a file does not tell when it grows
            await asyncio.sleep(0.01)


async def ask(url: str, seen: Seen, *, body: Any = None, path: str = PATH, **headers: str) -> int:
    """A request on a connection of its own; gives the status."""
    method = "GET" if body is None else "POST"
    async with (
        aiohttp.ClientSession(headers=HEADERS | headers) as session,
        session.request(method, url + path, json=body) as response,
    ):
        received = bytearray()
        with contextlib.suppress(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
        seen.response(response, bytes(received))
        return response.status


async def probe(url: str, seen: Seen) -> None:
    async with aiohttp.ClientSession(headers=HEADERS | TOKEN) as session:
        for path in ("/health", "/ready", "/", "/events", "/ "):
            # the last is the status page
            accept = {"Accept": "text/html"} if path == "/ " else {}
            async with session.get(f"{url}{path.strip()}?{mark('query')}", headers=accept) as response:
                seen.places["probe"].append(await response.text() + str(response.raw_headers))


@asynccontextmanager
async def following(url: str, seen: Seen) -> AsyncIterator[None]:
    """Inside, the event feed is read, all that it has."""

    async def read() -> None:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/events") as response:
            assert response.status == 200
            async for piece in response.content.iter_any():
                text.append(piece)  # noqa: PERF401  # it never ends: what came is looked at meanwhile

    text: list[bytes] = []
    reading = asyncio.create_task(read())
    try:
        await until(lambda: text)
        yield
        # the newest state
        count = len(text)
        await until(lambda: len(text) > count or reading.done())
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        seen.places["feed"].append(b"".join(text).decode())


async def throw(url: str, seen: Seen, data: bytes) -> bytes:
    """Bytes on a connection of their own; gives what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    with contextlib.closing(writer):
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), _SECONDS)
    seen.places["error"].append(answer.decode())
    return answer


async def go_through_the_open_gateway(url: str, seen: Seen, scripted: ScriptedBackend) -> None:
    for streamed, answer in answers():
        # one that fails before the client got any of it is asked for twice
        scripted.answers = [answer, answer]
        await ask(url, seen, body=REQUEST | {"stream": streamed}, **TOKEN)
    scripted.answers = [respond(json.dumps(WHOLE).encode())]
    assert await ask(url, seen, body=REQUEST, **{"x-api-key": mark("x-api-key")}) == 200
    assert await ask(url, seen, path="/v1/models", **TOKEN) == 200
    assert await ask(url, seen, body=REQUEST, path="/v1/messages/count_tokens", **TOKEN) == 200
    assert await ask(url, seen, body=REQUEST | {"model": mark("wrong model")}, **TOKEN) == 404
    wrong = {"messages": [{"role": mark("wrong role"), "content": mark("user")}]}
    assert await ask(url, seen, body=REQUEST | wrong, **TOKEN) == 400
    assert await ask(url, seen, path=f"/v1/models/{mark('wrong model')}", **TOKEN) == 404
    assert await ask(url, seen, path=f"/v1/{mark('path')}?{mark('query')}", **TOKEN) == 404
    assert await ask(url, seen, **TOKEN) == 405
    for headers in (
        {"Authorization": f"Bearer sk-ant-{mark('token of Anthropic')}"},
        {"x-api-key": f"sk-ant-{mark('token of Anthropic')}"},
        {"Authorization": f"Bearer {mark('token with a blank')} x"},
        {"Authorization": f"Basic {mark('token with a blank')}"},
    ):
        assert await ask(url, seen, body=REQUEST, **headers) == 401
    for data in BYTES:
        assert re.match(rb"HTTP/1\.[01] 4\d\d ", await throw(url, seen, data)), data[:100]
    await probe(url, seen)


async def leave(url: str, scripted: ScriptedBackend) -> None:
    """A client that goes in the middle of an answer."""
    scripted.answers, scripted.client_left = [stream(BEGUN, asyncio.Event())], asyncio.Event()
    async with aiohttp.ClientSession() as session:
        response = await session.post(url + PATH, json=REQUEST | {"stream": True}, headers=TOKEN)
        await read_until(response, b"text_delta")
        response.close()


async def shut_down(url: str, seen: Seen, scripted: ScriptedBackend, process: asyncio.subprocess.Process) -> None:
    """The end comes in the middle of an answer, and behind the head of another request."""
    scripted.answers, scripted.asked = [stream(BEGUN, asyncio.Event()), stream(asyncio.Event())], asyncio.Event()
    asking = [asyncio.create_task(ask(url, seen, body=REQUEST | {"stream": True}, **TOKEN)) for _ in range(2)]
    await until(lambda: not scripted.answers)
    process.terminate()
    assert sorted(await asyncio.gather(*asking)) == [200, 529]
    await asyncio.wait_for(process.wait(), _SECONDS)


@pytest.mark.parametrize(("form", "level"), [("json", "debug"), ("console", "info")])
async def test_every_mark_is_only_where_it_belongs(
    form: str, level: str, tmp_path: Path, scripted: ScriptedBackend
) -> None:
    scripted.models = json.dumps({"data": [{"id": mark("model"), "object": "model"}]}).encode()
    seen, logs = Seen(), {"LOG_FORMAT": form, "LOG_LEVEL": level}
    folders = [tmp_path / name for name in ("open", "guarded", "lost")]
    for folder in folders:
        folder.mkdir()
    keys = tmp_path / "keys"
    keys.write_text(f"sk-{mark('key in a file')}  name=file\n")
    guard = {
        "BACKEND_API_KEY": mark("key of the backend"),
        "GATEWAY_API_KEYS": f"sk-{mark('key of the gateway')} name=setting",
        "GATEWAY_API_KEYS_FILE": str(keys),
    }
    nowhere = f"http://127.0.0.1:9/v1?key={mark('query of the backend')}"
    query = f"/v1?api-version={mark('query of the backend')}"
    async with (
        gateway(folders[0], seen, BACKEND_URL=scripted.url, **logs) as (url, process),
        gateway(folders[1], seen, BACKEND_URL=scripted.url + query, **guard, **logs) as (guarded, _),
        gateway(folders[2], seen, BACKEND_URL=nowhere, **guard, **logs) as (lost, _),
    ):
        async with following(url, seen):
            await go_through_the_open_gateway(url, seen, scripted)
            await leave(url, scripted)
        async with following(url, seen):
            # a series begins with all that is kept
            pass
        await shut_down(url, seen, scripted, process)
        for name, status in (("key of the gateway", 200), ("key in a file", 200), ("wrong key", 401)):
            scripted.answers = [respond(json.dumps(WHOLE).encode(), **OTHER)]
            assert await ask(guarded, seen, body=REQUEST, Authorization=f"Bearer sk-{mark(name)}") == status
        assert await ask(lost, seen, body=REQUEST, Authorization=f"Bearer sk-{mark('key in a file')}") >= 500
        assert await ask(lost, seen, path="/v1/models", Authorization=f"Bearer sk-{mark('key in a file')}") >= 500
        await probe(guarded, seen)
        await probe(lost, seen)
    seen.backend([*scripted.requests, *scripted.listed])

    belongs = {name: places - ({"debug"} if level == "info" else set()) for name, places in BELONGS.items()}
    found = {name: seen.where(name) for name in BELONGS}
    assert [(name, found[name], belongs[name]) for name in BELONGS if found[name] != belongs[name]] == []
    assert seen.headers == {kind: {frozenset(names)} for kind, names in RESPONSE_HEADERS.items()}
    assert {frozenset(request.headers) for request in scripted.requests} == {frozenset(CHAT_HEADERS)}
    assert {frozenset(request.headers) | {"authorization"} for request in scripted.listed} == {frozenset(LIST_HEADERS)}


async def test_a_missing_list_of_models_does_not_tell_the_backends_query(
    scripted: ScriptedBackend, tmp_path: Path
) -> None:
    scripted.models_status = 404
    query = f"/v1?api-version={mark('query of the backend')}"
    seen = Seen()
    async with gateway(tmp_path, seen, BACKEND_URL=scripted.url + query, LOG_LEVEL="debug") as (url, _):
        assert await ask(url, seen, path="/v1/models", **TOKEN) == 404

    assert seen.where("query of the backend") == set()


async def test_a_redirect_does_not_tell_the_backends_query(scripted: ScriptedBackend, tmp_path: Path) -> None:
    # a host that wants https sends the query back
    query = f"/v1?api-version={mark('query of the backend')}"
    scripted.answers = [respond(b"", status=308, Location=f"https://localhost{query}")]
    seen = Seen()
    async with gateway(tmp_path, seen, BACKEND_URL=scripted.url + query) as (url, _):
        assert await ask(url, seen, body=REQUEST | {"model": "Vendor/Model-1"}, **TOKEN) == 502

    assert seen.where("query of the backend") == set()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        pytest.param(
            "wrong address of the backend",
            {"BACKEND_URL": f"htp://user:{mark('wrong address of the backend')}@localhost/v1"},
        ),
        pytest.param(
            "key without a comma",
            {"GATEWAY_API_KEYS": f"sk-{'0' * 16} sk-{mark('key without a comma')}"},
        ),
        pytest.param("key of the backend", {"BACKEND_API_KEY": f"{mark('key of the backend')} é"}),
    ],
)
async def test_a_wrong_setting_is_not_shown_where_it_is_secret(
    name: str, setting: dict[str, str], tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", cwd=tmp_path, env={"PATH": os.environ["PATH"], **setting},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await process.communicate())[0].decode()

    assert process.returncode == 2
    assert said.startswith(f"claude-gateway: {next(iter(setting))}=")
    assert not holds(said, name), said
