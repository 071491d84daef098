"""A second opinion on failures: LLMock breaks its answers on demand, and judges how its client took that."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from aiohttp import ClientSession

from tests.conftest import StartGateway

pytestmark = [pytest.mark.llmock, pytest.mark.timeout(120)]

VERSION = "0.2.2"
MODEL = "gpt-4o"
CHAT = "/v1/chat/completions"
TEXT = "One two three four five"
# the role, then a word in each chunk: this many until the client has some of the text
IN_MID_TEXT = 3
TOOL: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def llmock(cache: Path) -> Iterator[str]:
    """The URL of an LLMock server, one for all tests here. Skips where it cannot be installed."""
    folder = cache / f"llmock-{VERSION}"
    program = folder / "bin" / "llmock"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = (str(folder / "bin" / "pip"), "install", "-q", f"llmock=={VERSION}")
        installed = subprocess.run(pip, capture_output=True, text=True, check=False)
        if installed.returncode != 0:
            pytest.skip(f"llmock {VERSION} cannot be installed here: {installed.stderr[-300:]}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("LLMOCK_")}
    command = (str(program), "serve", "--port", str(port))
    with subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the server takes connections."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"llmock does not serve (exit code {process.poll()})")


class Mock:
    """LLMock's own interface. What it is told concerns chat completions only, not the list of models."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/_llmock"

    async def will(self, *behaviours: dict[str, Any]) -> None:
        queued = [{"match": {"path": CHAT}} | behaviour for behaviour in behaviours]
        async with self._session.post(f"{self._url}/scenario", json={"behaviors": queued}) as response:
            assert response.status == 201, await response.text()

    async def reset(self) -> None:
        async with self._session.post(f"{self._url}/reset") as response:
            assert response.status == 200

    async def statuses(self) -> list[int]:
        """What it answered to requests for a completion."""
        async with self._session.get(f"{self._url}/requests") as response:
            requests = (await response.json())["requests"]
        return [request["status"] for request in requests if request["path"] == CHAT]

    async def findings(self) -> list[str]:
        """What it has to say against its client."""
        async with self._session.get(f"{self._url}/verdict") as response:
            return [finding["code"] for finding in (await response.json())["findings"]]


@pytest.fixture
async def mock(llmock: str) -> AsyncIterator[Mock]:
    async with ClientSession() as session:
        mock = Mock(session, llmock)
        await mock.reset()
        yield mock


@pytest.fixture
async def client(llmock: str, start_gateway: StartGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    gateway = await start_gateway(llmock, silence_timeout_secs="1", backend_timeout_secs="1.5")
    async with anthropic.AsyncAnthropic(base_url=str(gateway.make_url("/")), api_key="any", max_retries=0) as client:
        yield client


def fail(status: int, **fields: Any) -> dict[str, Any]:
    return {"type": "fail", "status": status, **fields}


def broken(kind: str, after_chunks: int) -> dict[str, Any]:
    return {"type": "stream_fault", "kind": kind, "after_chunks": after_chunks}


REPLY = {"type": "reply", "text": TEXT, "times": None}


async def ask(client: anthropic.AsyncAnthropic, *, streamed: bool, **fields: Any) -> anthropic.types.Message:
    request = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Count"}], **fields}
    if not streamed:
        message: anthropic.types.Message = await client.messages.create(**request)
        return message
    async with client.messages.stream(**request) as stream:
        return await stream.get_final_message()


def text(message: anthropic.types.Message) -> str:
    [block] = message.content
    assert isinstance(block, anthropic.types.TextBlock)
    return block.text


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("faults", "statuses"),
    [
        pytest.param([], [200], id="no fault"),
        pytest.param([fail(429, retry_after=1)], [429, 200], id="429, then room"),
        pytest.param([fail(503, retry_after=1)], [503, 200], id="503, then well"),
        pytest.param([fail(529, retry_after=1)], [529, 200], id="529, then well"),
        pytest.param([fail(429, retry_after=1), fail(503, retry_after=1)], [429, 503, 200], id="two, then well"),
        pytest.param([{"type": "delay", "seconds": 0.8}], [200], id="late, but in time"),
    ],
)
async def test_what_heals_within_the_gateways_time_is_never_seen(
    faults: list[dict[str, Any]], statuses: list[int], streamed: bool, mock: Mock, client: anthropic.AsyncAnthropic
) -> None:
    await mock.will(*faults, REPLY)

    message = await ask(client, streamed=streamed)

    assert (text(message), message.stop_reason) == (TEXT, "end_turn")
    assert await mock.statuses() == statuses
    assert await mock.findings() == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(broken(kind, chunks), id=f"{kind} after {chunks}")
        for kind in ("disconnect", "truncate", "malformed")
        for chunks in (0, 1)
    ],
)
async def test_a_stream_that_breaks_before_its_text_is_asked_for_again(
    fault: dict[str, Any], mock: Mock, client: anthropic.AsyncAnthropic
) -> None:
    await mock.will(fault, REPLY)

    message = await ask(client, streamed=True)

    assert (text(message), message.stop_reason) == (TEXT, "end_turn")
    assert await mock.statuses() == [200, 200]
    # LLMock has often written all before it sees that the gateway has left, and then takes the second try for another
    # call
    assert set(await mock.findings()) <= {"malformed_chunk_ignored"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(broken("disconnect", IN_MID_TEXT), "broke off before its end", id="disconnect"),
        pytest.param(broken("truncate", IN_MID_TEXT), "broke off before its end", id="truncate"),
        pytest.param(broken("malformed", IN_MID_TEXT), "not a chat completion", id="malformed"),
        pytest.param(broken("stall", IN_MID_TEXT) | {"stall_seconds": 3}, "sent nothing for 1 s", id="stall"),
    ],
)
async def test_a_stream_that_breaks_in_mid_text_never_passes_for_whole(
    fault: dict[str, Any], said: str, mock: Mock, client: anthropic.AsyncAnthropic
) -> None:
    await mock.will(fault, REPLY)
    seen: list[tuple[str, str]] = []

    with pytest.raises(anthropic.APIStatusError, match=said):
        await _read(client, seen)

    assert seen == [
        ("message_start", ""),
        ("content_block_start", ""),
        ("content_block_delta", "One "),
        ("content_block_delta", "two "),
    ]
    assert await mock.statuses() == [200]


async def _read(client: anthropic.AsyncAnthropic, seen: list[tuple[str, str]]) -> None:
    """Put the raw events of a stream into `seen`, each with its text."""
    said: Any = [{"role": "user", "content": "Count"}]
    async for event in await client.messages.create(model=MODEL, max_tokens=100, messages=said, stream=True):
        seen.append((event.type, getattr(getattr(event, "delta", None), "text", "")))  # noqa: PERF401  # it breaks off


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        *(pytest.param(fail(status), status, None, id=f"{status}") for status in (400, 401, 403, 404)),
        pytest.param(fail(422), 400, None, id="422"),
        # the backend may have worked on it
        pytest.param(fail(500), 500, None, id="500"),
        pytest.param(fail(429, retry_after=30), 429, "30", id="429 for longer than the gateway waits"),
        pytest.param({"type": "delay", "seconds": 3}, 504, None, id="no answer in time"),
    ],
)
async def test_what_does_not_heal_is_told_after_one_try(
    fault: dict[str, Any],
    status: int,
    retry_after: str | None,
    streamed: bool,
    mock: Mock,
    client: anthropic.AsyncAnthropic,
) -> None:
    await mock.will(fault, REPLY)

    with pytest.raises(anthropic.APIStatusError) as raised:
        await ask(client, streamed=streamed)

    assert raised.value.status_code == status
    assert raised.value.response.headers.get("retry-after") == retry_after
    assert len(await mock.statuses()) == 1
    # whether to try again is for the client, which is told
    assert set(await mock.findings()) <= {"gave_up"}


async def test_an_outage_is_not_made_worse(mock: Mock, client: anthropic.AsyncAnthropic) -> None:
    await mock.will(fail(503, retry_after=1, times=None))

    with pytest.raises(anthropic.APIStatusError) as raised:
        await ask(client, streamed=True)

    assert (raised.value.status_code, raised.value.response.headers["x-should-retry"]) == (529, "true")
    assert await mock.statuses() == [503, 503, 503]
    assert await mock.findings() == []


async def test_a_client_that_tries_again_and_the_gateway_get_on(mock: Mock, client: anthropic.AsyncAnthropic) -> None:
    await mock.will(fail(500), fail(429, retry_after=1), fail(500), REPLY)

    message = await ask(client.with_options(max_retries=2), streamed=True)

    assert text(message) == TEXT
    assert await mock.statuses() == [500, 429, 500, 200]
    assert await mock.findings() == []


async def test_a_prompt_over_its_window_is_worded_for_compaction(mock: Mock, client: anthropic.AsyncAnthropic) -> None:
    said = "This model's maximum context length is 8000 tokens. However, your messages resulted in 9000 tokens."
    await mock.will(fail(400, message=said, code="context_length_exceeded"))

    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: 9000 tokens > 8000 maximum"):
        await ask(client, streamed=True)

    assert await mock.findings() == []


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("behaviours", "name", "arguments"),
    [
        pytest.param([], "get_weather", [{"city": "mock-city"}], id="a call"),
        # clients answer such a call with an error for the model
        pytest.param(
            [{"type": "tool_fault", "kind": "unknown_tool"}],
            "llmock_unknown_tool",
            [{"city": "mock-city"}],
            id="a call of what was not offered",
        ),
        # they are cut in the middle of the string; the SDK leaves that one out of a stream
        pytest.param(
            [{"type": "tool_fault", "kind": "malformed_arguments"}],
            "get_weather",
            [{}, {"city": ""}],
            id="a call whose arguments are cut",
        ),
    ],
)
async def test_calls(
    behaviours: list[dict[str, Any]],
    name: str,
    arguments: list[dict[str, str]],
    streamed: bool,
    mock: Mock,
    client: anthropic.AsyncAnthropic,
) -> None:
    if behaviours:
        await mock.will(*behaviours)

    message = await ask(client, streamed=streamed, tools=[TOOL])

    [block] = message.content
    assert isinstance(block, anthropic.types.ToolUseBlock)
    assert (message.stop_reason, block.name) == ("tool_use", name)
    # of a whole answer, what broke off is not completed: its words stay
    assert block.input in arguments or (behaviours and not streamed and "__unparsedToolInput" in block.input)
    assert await mock.statuses() == [200]
    assert await mock.findings() == []
