"""A reader of the event feed, for tests."""

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse


@dataclass
class Reader:
    """Reads the events of a response in order; `state` is their sum."""

    response: ClientResponse
    received: bytes = b""
    state: dict[str, Any] = field(default_factory=dict)
    last_id: str = ""

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event's name and data."""
        while True:
            while b"\n\n" not in self.received:
                piece = await self.response.content.readany()
                assert piece, self.received
                self.received += piece
            frame, _, self.received = self.received.partition(b"\n\n")
            lines = dict(line.split(": ", 1) for line in frame.decode().split("\n") if ": " in line)
            if "data" in lines:
                break
        data = json.loads(lines["data"])
        self.last_id = lines["id"]
        self.state = data if lines["event"] == "snapshot" else self.state | data
        return lines["event"], data

    async def until(self, *path: str | int, equals: Any) -> dict[str, Any]:
        """Read until the value at a path equals `equals`; gives that state."""
        while self.at(*path) != equals:
            await self.next()
        return self.state

    def at(self, *path: str | int) -> Any:
        value: Any = self.state
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError):
                return None
        return value
