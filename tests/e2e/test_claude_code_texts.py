"""What a user of the real Claude Code reads when something is wrong: the texts that the client makes of the gateway's."""

import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, ScriptedBackend, StartGateway, respond
from tests.e2e.conftest import HERE, last_json_line, run

pytestmark = [pytest.mark.claude_code, pytest.mark.timeout(120), pytest.mark.usefixtures("npm")]

VERSION = "2.1.330"
MODEL = "Vendor/Model-1"


class Always(list[Answer]):
    """The same answer to every request."""

    def pop(self, _: Any = 0) -> Answer:
        return self[0]


def says(status: int, message: str, **fields: Any) -> Answer:
    return respond(json.dumps({"error": {"message": message, **fields}}).encode(), status=status)


Read = Callable[..., Awaitable[str]]


@pytest.fixture
def read(cache: Path, scripted: ScriptedBackend, start_gateway: StartGateway) -> Read:
    """What the client prints in front of a gateway: `await read(answer, settings, MODEL=…, TOKEN=…)`."""

    async def ask(answer: Answer | None, settings: dict[str, str] | None = None, **knobs: str) -> str:
        scripted.answers = Always([answer] if answer else [])
        gateway = await start_gateway(**{"backend_url": scripted.url, "backend_retries": "0", **(settings or {})})
        environment = {
            "CC_VERSION": VERSION,
            "CC_PREFIX": str(cache / f"claude-code-{VERSION}"),
            "CC_PROMPT": "Answer.",
            "CC_EXPECT": "-",
            "CC_TIMEOUT": "60",
            "CC_RETRIES": "0",
            "CC_MODEL": MODEL,
            **knobs,
        }
        code, out, err = await run(
            "bash", str(HERE / "run_claude_code.sh"), str(gateway.make_url("/")), *knobs.get("token", "").split(),
            **environment,
        )  # fmt: skip
        if code == 3:
            pytest.skip(f"npm gives no claude-code {VERSION}: {err[-300:]}")
        result = last_json_line(out)
        assert (result["rc"], result["is_error"]) == (1, True), result
        return str(result["result"])

    return ask


OVERFLOW = "This model's maximum context length is 131072 tokens. However, your request has 140000 input tokens."
BIG = {"max_body_mib": "1"}


# what is printed is cut off at 300 characters
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param(says(400, OVERFLOW), ["Prompt is too long", "140000", "131072"], id="overflow"),
        pytest.param(says(429, "Slow down."), ["429", "Slow down.", "the backend's limit"], id="rate limit"),
        pytest.param(says(402, "Insufficient balance"), ["402", "add credit to the backend account"], id="no credit"),
        pytest.param(says(403, "Not for you."), ["403", "the key has no permission for this"], id="forbidden"),
        pytest.param(says(503, "Loading model"), ["Loading model", "has no capacity right now"], id="starting"),
        pytest.param(says(404, "Not Found"), ["502", "correct BACKEND_URL"], id="wrong path"),
        pytest.param(respond(b"", status=500), ["500", "without giving a reason: check its log"], id="no words"),
    ],
)
async def test_a_backends_error_is_read_with_what_to_do(answer: Answer, told: list[str], read: Read) -> None:
    text = await read(answer)

    assert [words for words in told if words not in text] == [], text


async def test_a_token_of_the_wrong_kind(read: Read) -> None:
    text = await read(None, token="sk-ant-oat01-4711")

    assert "401 this is a token for Anthropic (sk-ant-…), and this gateway talks to another backend" in text
    assert "set ANTHROPIC_AUTH_TOKEN to a key of that backend instead" in text


async def test_an_unknown_model_with_near_names(read: Read) -> None:
    # whatever the text of a 404 is, this client shows one of its own, which names the model
    text = await read(None, CC_MODEL="vendor/modl-1")

    assert "issue with the selected model (vendor/modl-1)" in text


async def test_a_backend_that_is_down_and_then_left_alone(read: Read) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    down = await read(None, {"backend_url": url})
    breaker = {"enable_circuit_breaker": "true", "circuit_breaker_fail_max": "1", "circuit_breaker_reset_secs": "50"}
    alone = await read(None, {"backend_url": url, **breaker}, CC_RETRIES="1")

    assert "(Connection refused): is it running? Start it, or correct BACKEND_URL" in down
    assert "the circuit breaker stops calling it: try again in" in alone


async def test_a_body_that_is_too_large(read: Read, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("word " * 250_000)

    text = await read(None, BIG, CC_EXTRA=f"--append-system-prompt-file {tmp_path / 'long.txt'}")

    assert "Request too large" in text
