"""The bodies of the bench's requests, in Anthropic's form; nginx copies the same bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

# the fourth turn of a session of Claude Code 2.1.197, with 24 tools; its prose is filler of equal length
RECORDED = Path(__file__).parents[1] / "samples" / "claude-code" / "2.1.197-turn4.json"
_SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody minds. "
MESSAGE_BYTES = 2048


def one_text(kilobytes: int) -> dict[str, Any]:
    """One message with one long text."""
    return _asking([{"role": "user", "content": "hello there " * (kilobytes * 85)}])


def conversation(kilobytes: int) -> dict[str, Any]:
    """Messages of 2 KiB, user's and assistant's in turn."""
    return turn(max(1, kilobytes * 1024 // MESSAGE_BYTES // 2), 0)


def turn(number: int, of: int) -> dict[str, Any]:
    """Turn `number` of a conversation that grows by two messages of 2 KiB with each; another text in each, and in each
    conversation `of`.
    """
    return _asking(
        [
            {"role": ("user", "assistant")[at % 2], "content": _text(f"Message {at} of conversation {of}. ")}
            for at in range(2 * number - 1)
        ]
    )


def recorded(_: int = 0) -> dict[str, Any]:
    """What a real client sent."""
    body: dict[str, Any] = json.loads(RECORDED.read_text())["body"]
    return body


def _text(beginning: str) -> str:
    return (beginning + _SENTENCE * (MESSAGE_BYTES // len(_SENTENCE) + 1))[:MESSAGE_BYTES]


def _asking(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"model": "", "max_tokens": 1024, "stream": True, "messages": messages}


BODIES: dict[str, Callable[[int], dict[str, Any]]] = {
    "text": one_text,
    "conversation": conversation,
    "recorded": recorded,
}


def encoded(body: dict[str, Any], model: str) -> bytes:
    """The body, asking `model` for a stream."""
    return json.dumps(body | {"model": model, "stream": True}).encode()
