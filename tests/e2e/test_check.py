"""`claude-gateway check` on real servers: what it says of llama.cpp and of vLLM is what they are known to do."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import run, server_process

KEY = "key-of-a-test-0123456789"
WINDOW = 2048


async def check(url: str, token: str, *flags: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """The exit code, the rows by key, and the whole report."""
    command = (sys.executable, "-m", "gateway", "check", url, "--json", "--patience", "120", "--within", "500", *flags)
    code, out, _ = await run(*command, BACKEND_API_KEY=token)
    assert KEY not in out
    document = json.loads(out)
    return code, {row["key"]: row for row in document["checks"]}, document


def marks(rows: dict[str, Any], *keys: str) -> dict[str, str]:
    return {key: rows[key]["mark"] for key in keys}


@pytest.fixture(scope="module")
def locked_llama(cache: Path) -> Iterator[str]:
    """A llama.cpp server that wants a key, and whose model says the same each time."""
    settings = {"THREADS": "1", "CTX": str(WINDOW), "API_KEY": KEY, "TEMPERATURE": "0"}
    with server_process("start_llama_backend.sh", cache / "llama", **settings) as url:
        yield url


@pytest.mark.llama
@pytest.mark.timeout(600)
async def test_llama(locked_llama: str) -> None:
    code, rows, document = await check(locked_llama, KEY, "--full")

    good = ("reachable", "tls", "key", "models", "whole", "streaming", "usage", "counting", "cache", "overflow")
    assert marks(rows, *good) == dict.fromkeys(good, "good")
    assert rows["streaming"]["facts"]["events"] > 20
    assert rows["cache"]["facts"]["cached_tokens"] > 100
    assert marks(rows, "context", "images") == {"context": "bad", "images": "partly"}
    # whether so small a model calls a tool depends on the machine's arithmetic; the server takes a demand for a choice
    assert rows["tools"]["mark"] in ("good", "bad")
    assert rows["forced"]["mark"] in ("good", "partly")
    assert rows["overflow"]["facts"] == {"tokens": WINDOW}
    assert (code, document["model"], document["profile"]) == (1, "gemma-3-270m", "auto")
    assert document["client"]["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(WINDOW)


@pytest.mark.llama
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("token", "said"), [("", "one is required"), ("wrong-key-9876543210", "the key is refused (401")]
)
async def test_llama_with_a_wrong_key(token: str, said: str, locked_llama: str) -> None:
    # its list of models is public: the key shows with the first answer
    code, rows, _ = await asyncio.wait_for(check(locked_llama, token), 60)

    assert (code, rows["key"]["mark"]) == (1, "bad")
    assert rows["key"]["said"].startswith(said)


@pytest.mark.vllm
@pytest.mark.timeout(900)
async def test_vllm(cache: Path) -> None:
    # without a parser for tools: the most common mistake
    settings = {"CTX": str(WINDOW), "ALIAS": "tiny", "API_KEY": KEY, "TOOL_PARSER": ""}
    with server_process("start_vllm_backend.sh", cache / "vllm", **settings) as url:
        code, rows, document = await check(url, KEY, "--full")
        wrong, refused, _ = await check(url, "wrong-key-9876543210")

    good = ("reachable", "tls", "key", "models", "whole", "streaming", "usage", "cache", "overflow")
    assert marks(rows, *good) == dict.fromkeys(good, "good")
    assert rows["tools"]["mark"] == "bad"
    assert "--enable-auto-tool-choice" in rows["tools"]["said"]
    assert "vLLM: --enable-auto-tool-choice --tool-call-parser NAME" in rows["tools"]["remedy"]
    assert marks(rows, "context", "images") == {"context": "bad", "images": "partly"}
    assert rows["overflow"]["facts"] == {"tokens": WINDOW}
    assert (code, document["model"], document["profile"]) == (1, "tiny", "auto")
    assert (wrong, refused["key"]["mark"]) == (1, "bad")
