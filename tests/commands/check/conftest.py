"""A backend that passes the whole check; tests take abilities away from it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from gateway.commands.check.doctor import check
from gateway.commands.check.report import JSONReport
from gateway.settings import load_settings

MODEL = "Vendor/Model-1"
NUMBERS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"

Brain = Callable[[dict[str, Any]], dict[str, Any]]


def call(name: str, number: int = 0, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"index": number, "id": f"call_{number}abc", "type": "function", "function": function}


def words(text: str) -> dict[str, Any]:
    return {"content": text}


def brain(body: dict[str, Any]) -> dict[str, Any]:
    """The message that answers a request of the check correctly."""
    last, choice = body["messages"][-1], body.get("tool_choice")
    asked = last["content"] if isinstance(last["content"], str) else json.dumps(last["content"])
    if last["role"] == "tool":
        return words("The meeting is at 14:35.")
    if isinstance(choice, dict):
        return {"tool_calls": [call(choice["function"]["name"], command="ls")]}
    if "twice" in asked:
        return {"tool_calls": [call("Read", number, file_path=f"/home/me/{number}") for number in (0, 1)]}
    if body.get("tools"):
        return {"tool_calls": [call("Read", file_path="/home/me/notes/today.txt")]}
    if "image_url" in asked:
        return words("Red.")
    if "response_format" in body:
        return words('{"title": "The Sea", "words": 3}')
    if body.get("chat_template_kwargs", {}).get("enable_thinking"):
        return {"reasoning_content": "Nine are left.", "content": "Nine."}
    return words(NUMBERS)


@dataclass
class Able:
    """What a backend does; tests change parts of it."""

    brain: Brain = brain
    # the response instead of a completion, or None
    refuse: Callable[[dict[str, Any]], web.Response | None] = lambda _: None
    models: dict[str, Any] = field(
        default_factory=lambda: {
            "object": "list",
            "data": [{"id": MODEL, "object": "model", "max_model_len": 131072, "architecture": {}}],
        }
    )
    # paths other than the API's two, and their responses
    paths: dict[str, web.Response | int] = field(default_factory=dict)
    key: str = ""
    usage_in: frozenset[str] = frozenset({"stream", "whole"})
    caches: bool = True
    prompt_tokens: Callable[[dict[str, Any]], int] = lambda body: (
        len(json.dumps(body["messages"])) // 4 + 200 * bool(body.get("tools"))
    )
    # pauses before the first event and between events, in seconds; and the number of words in an event
    before: float = 0.0
    before_new: float = 0.0
    # the finish reason, if not the usual one
    finish: Callable[[dict[str, Any]], str] = lambda _: ""
    between: float = 0.0
    words_an_event: int = 1
    streams: bool = True
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    url: str = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        if request.path in self.paths:
            answer = self.paths[request.path]
            return web.Response(status=answer) if isinstance(answer, int) else answer
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            given = request.headers.get("Authorization", "nothing")
            return error(401, f"Incorrect API key provided: {given}.")
        if request.path == "/v1/models":
            return web.json_response(self.models)
        if request.path != "/v1/chat/completions" or request.method != "POST":
            return error(404, "Not Found")
        body = await request.json()
        self.bodies.append(body)
        if (refused := self.refuse(body)) is not None:
            return refused
        return await self._answer(request, body)

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        message, new = self.brain(body), json.dumps(body["messages"]) not in self.seen
        usage = self._usage(body)
        finish = self.finish(body) or ("tool_calls" if message.get("tool_calls") else "stop")
        if not (body["stream"] and self.streams):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            counted = {"usage": usage} if "whole" in self.usage_in else {}
            return web.json_response({"object": "chat.completion", "choices": [choice], **counted})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(self.before + (self.before_new if new and "Notes" in json.dumps(body["messages"]) else 0))
        for delta in self._deltas(message):
            await response.write(event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
            await asyncio.sleep(self.between)
        await response.write(event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
        if "stream" in self.usage_in:
            await response.write(event({"choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")
        return response

    def _deltas(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        if message.get("tool_calls"):
            return [{"tool_calls": [one]} for one in message["tool_calls"]]
        deltas = []
        for name, text in message.items():
            pieces = [f"{word} " for word in text.split()]
            step = self.words_an_event
            deltas += [{name: "".join(pieces[at : at + step])} for at in range(0, len(pieces), step)]
        return deltas

    def _usage(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = json.dumps(body["messages"])
        tokens = self.prompt_tokens(body)
        cached = tokens - 16 if self.caches and prompt in self.seen and tokens > 500 else 0
        self.seen.add(prompt)
        details = {"cached_tokens": cached}
        return {"prompt_tokens": tokens, "completion_tokens": len(NUMBERS.split()), "prompt_tokens_details": details}


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"object": "chat.completion.chunk", **data}).encode() + b"\n\n"


def error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "error", "code": status}}, status=status)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service that sends back what it gets."""
    writer.write(await reader.read(4096))
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service that closes each connection once something has come."""
    await reader.read(4096)
    writer.close()


@pytest.fixture
async def able(no_leaks: None, aiohttp_server: Any) -> Able:
    """A listening backend that can do everything."""
    backend = Able()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", backend.serve)
    server: TestServer = await aiohttp_server(app)
    backend.url = str(server.make_url("/")).rstrip("/")
    return backend


@dataclass(frozen=True)
class Checked:
    """The JSON report of a check, and its exit code."""

    code: int
    document: dict[str, Any]
    text: str

    def row(self, key: str) -> dict[str, Any]:
        return next(row for row in self.document["checks"] if row["key"] == key)

    @property
    def marks(self) -> dict[str, str]:
        return {row["key"]: row["mark"] for row in self.document["checks"]}


Run = Callable[..., Awaitable[Checked]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a check: `await run(url, token=…, backend_profile="vllm")`."""

    async def run(
        url: str,
        *,
        token: str = "",
        model: str = "",
        full: bool = False,
        patience: float = 10,
        within: float = 50,
        environment: dict[str, str] | None = None,
        **settings: str,
    ) -> Checked:
        loaded = load_settings({"backend_url": url, **settings}, environment or {}, tmp_path)
        capsys.readouterr()
        report = JSONReport(Console(stderr=True))
        code = await check(loaded, report, token=token, model=model, full=full, patience=patience, within=within)
        text = capsys.readouterr().out
        return Checked(code, json.loads(text[text.index("{\n") :]), text)

    return run
