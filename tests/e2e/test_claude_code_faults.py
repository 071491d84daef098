"""The real Claude Code client, old and new, in front of a backend that fails: it must heal, or stop at once.

The backend chooses its answer by what a request holds, never by order alone: the clients make side calls (warm-ups,
topics, paths of commands), and their number differs by version. Those go to the same model by the model map.
"""

import asyncio
import json
import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import pytest
import structlog

from tests.conftest import (
    END,
    TOKEN,
    USAGE,
    Answer,
    ScriptedBackend,
    StartGateway,
    ask,
    chunk,
    respond,
    stream,
)
from tests.e2e.conftest import HERE, last_json_line, run

pytestmark = [pytest.mark.claude_code, pytest.mark.timeout(300), pytest.mark.usefixtures("npm")]

OLD = ["1.0.128", "2.0.77"]
NEW = ["2.1.197", "2.1.330"]
MODEL = "Vendor/Model-1"
# of the requests of a client that gives up at once, which are for a stream: the old ones always ask once without
AT_ONCE = {"1.0.128": [True, False], "2.0.77": [True, False], "2.1.197": [True], "2.1.330": [True]}
HALF = "This is only half of"
WHOLE = "This is the whole answer."
# in the prompts of these tests, and in no side call
TASK = "Quokka task"

Request = dict[str, Any]
Script = Callable[[Request, int], Answer]


class ByContent(list[Answer]):
    """A backend's answers: `script(request, n)` for the n-th request of the conversation itself, "ok" for others."""

    def __init__(self, backend: ScriptedBackend, script: Script) -> None:
        super().__init__()
        self.main: list[Request] = []
        self._backend = backend
        self._script = script

    def pop(self, _: SupportsIndex = 0) -> Answer:
        """The answer for the request that has just come."""
        request = self._backend.requests[-1].json
        tools = [tool["function"]["name"] for tool in request.get("tools", [])]
        if "Read" not in tools or TASK not in json.dumps(request["messages"]):
            return say(request, "ok")
        self.main.append(request)
        return self._script(request, len(self.main))


def say(request: Request, text: str) -> Answer:
    """A complete answer."""
    return _whole(request, {"role": "assistant", "content": text}, "stop")


def read(request: Request, path: Path, thinking: str) -> Answer:
    """A call of the client's tool Read."""
    function = {"name": "Read", "arguments": json.dumps({"file_path": str(path)})}
    # each with an id of its own: a client drops a second call of the same id
    call = {"index": 0, "id": f"call_{len(request['messages'])}", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "reasoning_content": thinking, "tool_calls": [call]}
    return _whole(request, message, "tool_calls")


def _whole(request: Request, message: dict[str, Any], finish: str) -> Answer:
    """In the form that the request wants."""
    if request.get("stream"):
        return stream(chunk(message), chunk({}, finish), *END[1:])
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return respond(json.dumps({"object": "chat.completion", "choices": [choice], "usage": USAGE}).encode())


def cut_off(*pieces: bytes) -> Answer:
    """An answer that breaks off when the gateway has passed on what there is of it."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await stream(*pieces, cut=True)(writer)
        # nobody in this process sees what the client has; before that the gateway itself would ask again
        await asyncio.sleep(1)

    return answer


def refuse(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    body = {"error": {"message": message, "type": "error", "code": code}}
    return respond(json.dumps(body).encode(), status=status, **headers)


@dataclass(frozen=True)
class Outcome:
    """How a conversation went: the client's end, the requests to the backend, and the gateway's log lines."""

    result: dict[str, Any]
    main: list[Request]
    lines: list[dict[str, Any]]

    @property
    def ended(self) -> tuple[int, bool, str]:
        """Exit code, whether the client calls it an error, and the text that it prints (300 characters of it)."""
        return self.result["rc"], bool(self.result.get("is_error", True)), self.result["result"]

    @property
    def streamed(self) -> list[bool]:
        """Of each request of the conversation, whether it was for a stream."""
        return [bool(request.get("stream")) for request in self.main]

    @property
    def statuses(self) -> list[tuple[str, int | None]]:
        """Path and status of what the client asked, in the order of the ends."""
        return [(line["path"], line.get("status")) for line in self.lines if line["event"] == "request"]


Talk = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def talk(cache: Path, scripted: ScriptedBackend, start_gateway: StartGateway) -> Talk:
    """Runs a client of a version: `await talk(version, script, prompt)`; the knobs are those of the script."""

    async def talk(version: str, script: Script, prompt: str = f"{TASK}. Answer.", **knobs: str) -> Outcome:
        scripted.answers = answers = ByContent(scripted, script)
        with structlog.testing.capture_logs() as lines:
            gateway = await start_gateway(scripted.url, model_map=f"default={MODEL}")
            # the first count loads the vocabulary, which would hold up the first answer
            await gateway.post("/v1/messages/count_tokens", json=ask(), headers=TOKEN)
            environment = {
                "CC_VERSION": version,
                "CC_PREFIX": str(cache / f"claude-code-{version}"),
                "CC_MODEL": MODEL,
                "CC_PROMPT": prompt,
                # what must come is judged by the test
                "CC_EXPECT": "-",
                "CC_TIMEOUT": "60",
                **knobs,
            }
            command = str(HERE / "run_claude_code.sh")
            code, out, err = await run("bash", command, str(gateway.make_url("/")), **environment)
            if code == 3:
                pytest.skip(f"npm gives no claude-code {version}: {err[-300:]}")
            # a line is written a moment after its answer: a server that closes waits for it
            await gateway.close()
        result = last_json_line(out)
        # 1.0.128 does not tell its version
        assert result.get("client", version) == version, (result, err)
        # without the count from above
        first = next(i for i, line in enumerate(lines) if line["event"] == "request")
        return Outcome(result, answers.main, lines[first + 1 :])

    return talk


@pytest.mark.parametrize("version", OLD + NEW)
async def test_an_answer_cut_in_mid_text_is_asked_for_again(version: str, talk: Talk) -> None:
    """The gateway sends an `error` event and drops the connection, the block still open. What the clients do then:

    1.0.128, 2.0.77, 2.1.197    ask without streaming, at once
    2.1.330                     the same when they see the event before the end, else stream again after 0.5 s: either
                                happens, and without the event only the second
    """

    def script(request: Request, n: int) -> Answer:
        return cut_off(chunk({"role": "assistant", "content": HALF})) if n == 1 else say(request, WHOLE)

    outcome = await talk(version, script)

    assert outcome.ended == (0, False, WHOLE)
    # the client has asked again, not the gateway
    assert "asked again" not in [line["event"] for line in outcome.lines]
    assert outcome.streamed in ([True, False], [True, version == "2.1.330"])


@pytest.mark.parametrize("version", OLD + NEW)
async def test_a_text_cut_after_thinking_is_never_the_answer(version: str, talk: Talk) -> None:
    """As above, behind a block that is complete. 2.1.197 takes no answer again of which it has a block, and says why
    (without the event: "Connection closed mid-response"). 2.1.330 asks for the rest, the old ones without streaming.
    """

    def script(request: Request, n: int) -> Answer:
        if n > 1:
            return say(request, WHOLE)
        return cut_off(chunk({"role": "assistant", "reasoning_content": "Well."}), chunk({"content": HALF}))

    outcome = await talk(version, script)

    code, is_error, text = outcome.ended
    if version == "2.1.197":
        assert (code, is_error, outcome.streamed) == (1, True, [True])
        assert "the backend's answer broke off before its end" in text
    else:
        assert (code, is_error, text) == (0, False, WHOLE)
        assert outcome.streamed == [True, version == "2.1.330"]


@pytest.mark.parametrize("version", OLD + NEW)
async def test_a_refused_token_ends_it_at_once(version: str, talk: Talk) -> None:
    outcome = await talk(version, lambda *_: refuse(401, "Invalid token."), CC_RETRIES="10")

    code, is_error, _ = outcome.ended
    assert (code, is_error, outcome.result["api_retries"]) == (1, True, 0)
    assert outcome.streamed == AT_ONCE[version]


@pytest.mark.parametrize("version", OLD + NEW)
async def test_a_spent_quota_ends_it_at_once_and_is_shown(version: str, talk: Talk) -> None:
    quota = refuse(429, "You exceeded your current quota.", "insufficient_quota")
    outcome = await talk(version, lambda *_: quota, CC_RETRIES="10")

    code, is_error, text = outcome.ended
    assert (code, is_error, outcome.result["api_retries"]) == (1, True, 0)
    assert "You exceeded your current quota." in text
    assert outcome.streamed == AT_ONCE[version]


@pytest.mark.parametrize("version", OLD + NEW)
async def test_thinking_and_a_tool_result_come_back_to_the_backend(version: str, talk: Talk, tmp_path: Path) -> None:
    file, thinking = tmp_path / "secret.txt", "I do not know the word.\n\nThe file does."
    file.write_text("word-4711\n")

    def script(request: Request, _: int) -> Answer:
        last = request["messages"][-1]
        if last["role"] == "tool" and (word := re.search(r"word-\d+", last["content"])):
            return say(request, f"It is {word[0]}.")
        return read(request, file, thinking)

    outcome = await talk(version, script, f"{TASK}: which word is in {file}?")

    assert outcome.ended == (0, False, "It is word-4711.")
    assert (outcome.result["tools"], outcome.result["tools_ok"]) == (["Read"], 1)
    _, second = outcome.main
    turn = next(message for message in second["messages"] if message["role"] == "assistant")
    # the old ones do not ask for thinking here, and so get none
    assert turn.get("reasoning_content") == (thinking if version in NEW else None)
    assert [call["function"]["name"] for call in turn["tool_calls"]] == ["Read"]
    result = next(message for message in second["messages"] if message["role"] == "tool")
    assert result["tool_call_id"] == turn["tool_calls"][0]["id"]


OVERFLOWS = {
    "llama.cpp": b'{"error":{"code":400,"message":"request (140000 tokens) exceeds the available context size (131072 '
    b'tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":140000,"n_ctx":131072}}',
    "vllm": b'{"error":{"message":"This model\'s maximum context length is 131072 tokens. However, your request has '
    b'140000 input tokens. Please reduce the length of the input messages.","type":"BadRequestError","code":400}}',
}


# the old ones do not compact in this mode: the next test
@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("version", NEW)
async def test_a_full_context_is_compacted_and_the_task_goes_on(
    version: str, overflow: str, talk: Talk, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}.txt" for name in "abc"]
    for file in files:
        file.write_text(f"word of {file.stem}\n")
    refused: list[int] = []

    def script(request: Request, n: int) -> Answer:
        messages = request["messages"]
        results = [message for message in messages if message["role"] == "tool"]
        if "Everything is summed up" in json.dumps(messages):
            return say(request, "All three are read.")
        if refused:
            return say(request, f"<summary>{TASK}. Everything is summed up here.</summary>")
        if len(results) < len(files):
            return read(request, files[len(results)], "Next.")
        refused.append(n)
        return respond(OVERFLOWS[overflow], status=400)

    outcome = await talk(version, script, f"{TASK}: read {' '.join(map(str, files))}.")

    assert outcome.ended == (0, False, "All three are read.")
    assert refused == [4]
    summary = outcome.main[4]["messages"][-1]
    assert (summary["role"], "summary" in summary["content"]) == ("user", True)
    assert len(outcome.main) == 6


@pytest.mark.parametrize("version", OLD)
async def test_an_old_client_ends_with_a_full_context_and_says_so(version: str, talk: Talk, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("word\n")

    def script(request: Request, n: int) -> Answer:
        return read(request, file, "Next.") if n == 1 else respond(OVERFLOWS["llama.cpp"], status=400)

    outcome = await talk(version, script, f"{TASK}: read {file}.", CC_RETRIES="10")

    assert outcome.ended == (1, True, "Prompt is too long")
    assert outcome.streamed == [True, *AT_ONCE[version]]


@pytest.mark.parametrize("version", OLD + NEW)
async def test_a_rate_limit_is_waited_for(version: str, talk: Talk) -> None:
    once = AT_ONCE[version]

    def script(request: Request, n: int) -> Answer:
        # longer than the gateway waits itself
        return refuse(429, "Slow down.", retry_after="6") if n <= len(once) else say(request, "Here I am.")

    outcome = await talk(version, script)

    assert outcome.ended == (0, False, "Here I am.")
    assert outcome.streamed == [*once, once[-1]]


@pytest.mark.parametrize("version", OLD + NEW)
async def test_a_short_rate_limit_never_reaches_it(version: str, talk: Talk) -> None:
    def script(request: Request, n: int) -> Answer:
        return refuse(429, "Slow down.", retry_after="1") if n <= 2 else say(request, "Here I am.")

    outcome = await talk(version, script)

    assert outcome.ended == (0, False, "Here I am.")
    assert outcome.streamed == [True, True, True]


@pytest.mark.parametrize("version", OLD + NEW)
async def test_where_every_stream_is_cut_it_gets_an_answer_without_streaming(version: str, talk: Talk) -> None:
    def script(request: Request, _: int) -> Answer:
        if request.get("stream"):
            return cut_off(chunk({"role": "assistant", "content": HALF}))
        return say(request, WHOLE)

    outcome = await talk(version, script, CC_RETRIES="2")

    assert outcome.ended == (0, False, WHOLE)
    *streams, last = outcome.streamed
    assert last is False
    # 2.1.330 may first use up its retries
    assert streams == [True] * (len(streams) if version == "2.1.330" else 1)
    assert len(streams) <= 3


@pytest.mark.parametrize("version", OLD + NEW)
async def test_the_context_view_gets_all_its_counts(version: str, talk: Talk) -> None:
    outcome = await talk(version, lambda request, _: say(request, "not asked"), "/context")

    # the old ones print the view elsewhere
    assert (outcome.ended[0], outcome.ended[2][:16]) == (0, "## Context Usage" if version in NEW else "")
    counted = [status for path, status in outcome.statuses if path == "/v1/messages/count_tokens"]
    assert len(counted) >= 8
    assert set(counted) == {200}
    # where a count fails, 2.1.197 asks for answers instead; 2.0.77 has its three warm-ups
    asked = [path for path, _ in outcome.statuses if path == "/v1/messages"]
    assert len(asked) <= (3 if version == "2.0.77" else 0)


# the old ones know of no such list
@pytest.mark.parametrize("version", NEW)
async def test_the_models_are_discovered(version: str, talk: Talk, tmp_path: Path) -> None:
    settings, printed = tmp_path / "settings.json", tmp_path / "out.jsonl"
    # the script sets the second for all runs
    environment = {"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": ""}
    settings.write_text(json.dumps({"env": environment}))

    outcome = await talk(
        version,
        lambda request, _: say(request, "Hello."),
        CC_EXTRA=f"--settings {settings}", CC_OUT=str(printed), CC_KEEP="1",
    )  # fmt: skip

    events = [json.loads(line) for line in printed.read_text().splitlines()]
    folder = Path(next(event["cwd"] for event in events if event.get("subtype") == "init")).parent
    try:
        kept = (folder / "home/.claude/cache/gateway-models.json").read_text()
    finally:
        shutil.rmtree(folder)
    assert outcome.ended == (0, False, "Hello.")
    assert [status for path, status in outcome.statuses if path == "/v1/models"] == [200]
    assert [model["id"] for model in json.loads(kept)["models"]] == [f"claude-{MODEL}"]
