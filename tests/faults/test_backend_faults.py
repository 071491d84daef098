"""Faults between the gateway and its backend. Each is followed by a good request, and leaves nothing behind."""

import asyncio
import base64
import contextlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.conftest import TOKEN, USAGE, ask, chunk, events
from tests.faults.conftest import Backend, Process, backend, json_response, serve, session, until
from tests.faults.injector import (
    Act,
    Fault,
    Injector,
    drip,
    duplicate,
    garbage,
    half_close,
    reset,
    slow,
    stall,
    truncate,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ARGUMENTS = {"path": "notes/today.txt"}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
PIECES = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}),
    chunk({"tool_calls": [CALL]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"path": "notes'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '/today.txt"}'}}]}),
    chunk({}, "tool_calls"),
    chunk(None, usage=USAGE),
    b"data: [DONE]\n\n",
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
CHUNKED = (
    HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in PIECES)
    + b"0\r\n\r\n"
)
# its end is the connection's
UNFRAMED = HEAD + b"\r\n" + b"".join(PIECES)
MESSAGE = {
    "role": "assistant",
    "content": "Hello",
    "tool_calls": [{**CALL, "function": {"name": "look", "arguments": json.dumps(ARGUMENTS)}}],
}
WHOLE = json_response(
    json.dumps({"choices": [{"message": MESSAGE, "finish_reason": "tool_calls"}], "usage": USAGE}).encode()
)
TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
# more than the kernel keeps of a request that is not read; as an image, for its tokens are counted quickly
LARGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(bytes(9 * 2**20)).decode()},
}
# whose failed streams break off
CLAUDE_CODE = TOKEN | {"User-Agent": "claude-cli/2.1.330 (external, cli)"}
SETTINGS = {
    "CONNECT_TIMEOUT_SECS": "0.5",
    "SEND_TIMEOUT_SECS": "0.4",
    "BACKEND_TIMEOUT_SECS": "0.4",
    "SILENCE_TIMEOUT_SECS": "0.4",
    "BACKEND_RETRIES": "1",
    "ENABLE_CIRCUIT_BREAKER": "true",
    "CIRCUIT_BREAKER_FAIL_MAX": "1000",
}


@dataclass
class Line:
    """A gateway, its backend, and the injector between them. `descriptors`: what the gateway holds at rest."""

    gateway: Process
    injector: Injector
    backend: Backend
    descriptors: int = 0

    async def ask(self, *, stream: bool, content: Any = "Hi", seen: tuple[bytes, asyncio.Event] | None = None) -> str:
        """How a request ends: `whole`, the status of an error, or the type of the error that cut a stream.

        `seen`: bytes, and what is set once the client has them.
        """
        body = io.BytesIO(json.dumps(ask(content, stream=stream, tools=[TOOL])).encode())
        async with (
            session() as client,
            client.post(f"{self.gateway.url}/v1/messages", data=body, headers=CLAUDE_CODE) as response,
        ):
            if response.status != 200:
                return _refused(response.status, await response.json())
            if stream:
                return await _streamed(response, *(seen or (b"", asyncio.Event())))
            return _message(await response.json())

    async def mend(self) -> None:
        """Drop all connections to the backend, and let it answer well from now on."""
        await self.injector.disarm()
        self.backend.streamed, self.backend.whole = CHUNKED, WHOLE

    async def is_well(self) -> None:
        """Fails if anything of a fault is left: while its connections still stand, and after the next requests."""
        try:
            await self.gateway.comes_to_rest(self.descriptors)
        finally:
            await self.mend()
        assert [await self.ask(stream=stream) for stream in (True, False)] == ["whole", "whole"]
        await self.gateway.comes_to_rest(self.descriptors)
        health = await self.gateway.health()
        breaker = health["circuit_breaker"]
        assert (health["streams"], breaker["state"], breaker["failures"]) == (0, "closed", 0)


@pytest_asyncio.fixture(loop_scope="module")
async def line(shared_line: Line) -> AsyncIterator[Line]:
    """The line of all tests, with nothing of another test's on it."""
    yield shared_line
    await shared_line.mend()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_line(folder: Path) -> AsyncIterator[Line]:
    async with (
        backend() as served,
        Injector("127.0.0.1", served.port) as injector,
        serve(folder, BACKEND_URL=injector.url, **SETTINGS) as gateway,
    ):
        line = Line(gateway, injector, served)
        await line.mend()
        assert [await line.ask(stream=stream) for stream in (True, False)] == ["whole", "whole"]
        line.descriptors = await gateway.descriptors_at_rest()
        yield line


def _refused(status: int, body: Any) -> str:
    assert body["type"] == "error"
    assert body["error"]["message"]
    assert body["request_id"].startswith("req_")
    return str(status)


def _message(body: Any) -> str:
    text, call = body["content"]
    assert text == {"type": "text", "text": "Hello"}
    assert (call["name"], call["input"], body["stop_reason"]) == ("look", ARGUMENTS, "tool_use")
    return "whole"


async def _streamed(response: aiohttp.ClientResponse, mark: bytes, seen: asyncio.Event) -> str:
    received, cut = b"", False
    try:
        async for piece in response.content.iter_any():
            received += piece
            if mark in received:
                seen.set()
    except aiohttp.ClientPayloadError:
        cut = True
    got = events(received)
    text = "".join(data["delta"].get("text", "") for name, data in got if name == "content_block_delta")
    arguments = "".join(data["delta"].get("partial_json", "") for name, data in got if name == "content_block_delta")
    if not cut:
        assert (text, json.loads(arguments)) == ("Hello", ARGUMENTS)
        assert [name for name, _ in got[-2:]] == ["message_delta", "message_stop"]
        return "whole"
    assert "message_stop" not in [name for name, _ in got]
    assert got[-1][0] == "error"
    assert "Hello".startswith(text)
    assert json.dumps(ARGUMENTS).startswith(arguments)
    kind: str = got[-1][1]["error"]["type"]
    return kind


ANSWERS = {"chunked": CHUNKED, "unframed": UNFRAMED, "JSON": WHOLE}
# where each stage of an answer begins, and what the client of a stream has by then
STAGES = {
    "before the answer": (b"HTTP", b""),
    "in its head": (b"Content-Type", b""),
    "before its first content": (b'"index": 0, "delta": {"content": "Hel"', b""),
    "in mid-text": (b'lo"', b"Hel"),
    "in mid-arguments": (b"/today", b"notes"),
    "after the finish_reason": (b'"usage"', b"/today"),
    "after [DONE]": (b"\r\n0\r\n\r\n", b"message_stop"),
}
# the outcome at each stage that an answer of this form has
OUTCOMES = {
    ("chunked", reset): "502 502 502 api_error api_error whole whole",
    ("chunked", truncate): "502 502 502 api_error api_error whole whole",
    ("chunked", half_close): "502 502 502 api_error api_error whole whole",
    ("chunked", stall): "504 504 504 timeout_error timeout_error whole whole",
    ("chunked", drip): "whole whole whole whole whole whole whole",
    ("chunked", slow): "whole whole whole whole whole whole whole",
    ("chunked", garbage): "502 502 502 api_error api_error whole whole",
    ("chunked", duplicate): "502 whole 502 api_error api_error whole whole",
    ("unframed", reset): "502 502 502 api_error api_error whole",
    ("unframed", truncate): "502 502 502 api_error api_error whole",
    ("unframed", half_close): "502 502 502 api_error api_error whole",
    ("unframed", stall): "504 504 504 timeout_error timeout_error whole",
    ("unframed", garbage): "502 502 502 api_error api_error api_error",
    # what is doubled in the head is the value of a header
    ("unframed", duplicate): "502 whole 502 api_error api_error api_error",
    ("unframed", drip): "whole whole whole whole whole whole",
    ("unframed", slow): "whole whole whole whole whole whole",
    ("JSON", reset): "502 502 502 502 502",
    ("JSON", truncate): "502 502 502 502 502",
    ("JSON", half_close): "502 502 502 502 502",
    ("JSON", stall): "504 504 504 504 504",
    ("JSON", garbage): "502 502 502 502 502",
    ("JSON", duplicate): "502 whole 502 502 502",
    ("JSON", drip): "whole whole whole whole whole",
    ("JSON", slow): "whole whole whole whole whole",
}


def cases(outcomes: dict[tuple[str, Act], str]) -> list[Any]:
    """A test's parameters for each cell of the table."""
    return [
        pytest.param(form, act, stage, outcome, id=f"{act.__name__} of {form} {stage}")
        for (form, act), row in outcomes.items()
        for stage, outcome in zip(
            (stage for stage, (mark, _) in STAGES.items() if mark in ANSWERS[form]), row.split(), strict=True
        )
    ]


async def answered(line: Line, form: str, act: Act, stage: str, *, times: int = -1) -> str:
    """How a request ends if its answer is struck."""
    mark, seen = STAGES[stage]
    stream, answer, when = form != "JSON", ANSWERS[form], asyncio.Event()
    if stream:
        line.backend.streamed = answer
    if not stream or not seen:
        when.set()
    line.injector.arm(Fault("down", answer.index(mark), act, when), times=times)
    outcome = await line.ask(stream=stream, seen=(seen, when))
    assert line.injector.struck > 0
    return outcome


@pytest.mark.parametrize(("form", "act", "stage", "outcome"), cases(OUTCOMES))
async def test_a_fault_in_the_answer(form: str, act: Act, stage: str, outcome: str, line: Line) -> None:
    assert await answered(line, form, act, stage) == outcome
    await line.is_well()


@pytest.mark.parametrize("act", [reset, truncate, half_close], ids=lambda act: act.__name__)
@pytest.mark.parametrize("form", ["chunked", "unframed"])
async def test_a_stream_that_fails_before_its_first_content_is_asked_for_once_more(
    form: str, act: Act, line: Line
) -> None:
    assert await answered(line, form, act, "before its first content", times=1) == "whole"
    await line.is_well()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "no stream"])
@pytest.mark.parametrize("at", [-1, 30, 500], ids=["as it connects", "in the head", "in the body"])
@pytest.mark.parametrize(
    ("act", "outcome"),
    [(reset, "502"), (truncate, "502"), (half_close, "502"), (stall, "504"), (drip, "whole"), (slow, "whole")],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_fault_in_the_request(act: Act, outcome: str, at: int, stream: bool, line: Line) -> None:
    line.injector.arm(Fault("up", at, act))

    assert await line.ask(stream=stream) == outcome
    await line.is_well()


@pytest.mark.parametrize(("act", "at"), [(garbage, 0), (garbage, 30), (garbage, 500), (duplicate, 0), (duplicate, 500)])
async def test_a_request_that_is_garbled_on_its_way_is_the_backends_400(act: Act, at: int, line: Line) -> None:
    line.injector.arm(Fault("up", at, act))

    assert await line.ask(stream=True) == "400"
    await line.is_well()


@pytest.mark.parametrize(
    ("act", "outcomes"),
    # a backend that is told of no more closes: the gateway sees that, or that nothing is taken, whichever comes first
    [(stall, {"504"}), (half_close, {"502", "504"})],
    ids=["stall", "half_close"],
)
async def test_a_request_that_is_not_read_to_its_end_leaves_nothing(act: Act, outcomes: set[str], line: Line) -> None:
    line.injector.arm(Fault("up", 2**20, act))

    assert await line.ask(stream=True, content=[LARGE]) in outcomes
    await line.gateway.comes_to_rest(line.descriptors)
    await line.is_well()


@pytest.mark.parametrize("act", [reset, truncate], ids=lambda act: act.__name__)
@pytest.mark.parametrize(("times", "outcome"), [(1, "whole"), (-1, "502")], ids=["once", "each time"])
async def test_a_request_that_was_not_taken_whole_is_sent_again(times: int, outcome: str, act: Act, line: Line) -> None:
    line.injector.arm(Fault("up", 2**20, act), times=times)

    assert await line.ask(stream=True, content=[LARGE]) == outcome
    assert line.injector.struck == (1 if times == 1 else 2)
    await line.is_well()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "no stream"])
async def test_a_refused_connection_is_a_502(stream: bool, line: Line) -> None:
    async with line.injector.refusing():
        assert await line.ask(stream=stream) == "502"
    await line.is_well()


async def test_a_backend_that_is_back_by_the_next_try_answers(line: Line) -> None:
    tries = _tries(line)
    async with line.injector.refusing():
        answer = asyncio.create_task(line.ask(stream=True))
        await until(lambda: _tries(line) > tries, 5)

    assert await answer == "whole"
    await line.is_well()


def _tries(line: Line) -> int:
    return sum(entry["event"] == "trying again" for entry in line.gateway.lines())


@pytest.mark.parametrize(
    ("mark", "act", "outcomes"),
    [
        # it was read, and may have been billed; a reset does not tell
        (b"HTTP", truncate, {"502"}),
        (b"HTTP", reset, {"502", "whole"}),
        (b"Content-Type", truncate, {"502"}),
        (b"Content-Type", reset, {"502"}),
        (b'"usage"', truncate, {"502"}),
        (b'"usage"', reset, {"502"}),
    ],
)
async def test_a_fault_on_a_connection_that_had_served_before(
    mark: bytes, act: Act, outcomes: set[str], line: Line
) -> None:
    line.backend.whole = WHOLE.replace(b"Connection: close\r\n", b"")
    line.injector.arm(Fault("down", len(line.backend.whole) + line.backend.whole.index(mark), act), times=1)
    assert await line.ask(stream=False) == "whole"

    assert await line.ask(stream=False) in outcomes
    # one that is whole keeps its connection
    await line.mend()
    await line.is_well()


async def test_faults_open_the_breaker_and_a_trial_that_is_left_or_stalls_frees_its_place(folder: Path) -> None:
    settings = SETTINGS | {"CIRCUIT_BREAKER_FAIL_MAX": "2", "CIRCUIT_BREAKER_RESET_SECS": "0.3"}
    async with (
        backend() as served,
        Injector("127.0.0.1", served.port) as injector,
        serve(folder, BACKEND_URL=injector.url, **settings) as gateway,
    ):
        served.streamed, served.whole = CHUNKED, WHOLE
        line = Line(gateway, injector, served)
        injector.arm(Fault("down", 0, reset))
        assert [await line.ask(stream=False) for _ in range(3)] == ["502", "502", "529"]
        injector.arm(Fault("down", 0, stall))
        assert await _trial(line) == "504"
        assert await line.ask(stream=True) == "529"
        injector.arm(Fault("down", 0, stall))
        while not injector.struck:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(line.ask(stream=True), 0.1)
        await injector.disarm()
        assert await _trial(line) == "whole"
        assert (await gateway.health())["circuit_breaker"]["state"] == "closed"


async def _trial(line: Line) -> str:
    """How the first request ends that an open breaker lets through."""
    async with asyncio.timeout(5):
        while (outcome := await line.ask(stream=True)) == "529":
            pass
    return outcome
