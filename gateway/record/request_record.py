"""The record of one request and its answer: written as things happen, read by logs, metrics, traces and status."""

import time
from typing import Final, Protocol

from aiohttp import web
from msgspec import Struct, field

from gateway.anthropic.ids import new_request_id
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.writer import Finish, Usage

# the longest name and the longest message kept of what clients and backends send
NAME_CHARACTERS: Final = 200
TEXT_CHARACTERS: Final = 1000


class LiveCount(Protocol):
    """Counts bytes by itself while it writes an answer; see `RequestRecord.live`."""

    sent: int


class RequestRecord(Struct, eq=False):
    """One request and its answer. Holds no token, no prompt and no answer. Times are those of `time.perf_counter`.

    Names and messages are cut as they are set, since they are kept and shown in many places.
    """

    request_id: str = field(default_factory=new_request_id)
    started: float = field(default_factory=time.perf_counter)
    # the name of the client's key, if the gateway has keys
    client: str | None = None
    _model: str | None = None
    _backend_model: str | None = None
    stream: bool | None = None
    # of a stream: knows its progress
    writer: StreamWriter | None = None
    usage: Usage | None = None
    stop_reason: str | None = None
    first_event: float | None = None
    # when the first content had been sent, and when the answer was complete
    first_content: float | None = None
    answered: float | None = None
    # bytes of the answer that were sent, without those that `live` counts while it writes
    counted: int = 0
    live: LiveCount | None = None
    # whether the gateway, not the client, ends the answer early
    cut: bool = False
    retries: int | None = None
    outcome: str = "ok"
    _error: str | None = None
    error_type: str | None = None

    @property
    def model(self) -> str | None:
        """The model that the client asks for."""
        return self._model

    @model.setter
    def model(self, name: str | None) -> None:
        self._model = _cut(name, NAME_CHARACTERS)

    @property
    def backend_model(self) -> str | None:
        """The backend's name for it."""
        return self._backend_model

    @backend_model.setter
    def backend_model(self, name: str | None) -> None:
        self._backend_model = _cut(name, NAME_CHARACTERS)

    @property
    def error(self) -> str | None:
        """What went wrong, in words."""
        return self._error

    @error.setter
    def error(self, text: str | None) -> None:
        self._error = _cut(text, TEXT_CHARACTERS)

    @property
    def sent(self) -> int:
        """The bytes of the answer sent so far."""
        return self.counted + (self.live.sent if self.live is not None else 0)

    def finished(self, finish: Finish) -> None:
        """Record that the answer is complete."""
        self.answered = time.perf_counter()
        self.usage = finish.usage
        self.stop_reason = finish.stop_reason

    def event_sent(self, size: int) -> None:
        """Record that `size` bytes of a stream were sent."""
        if self.first_event is None:
            self.first_event = time.perf_counter()
        self.counted += size


def _cut(text: str | None, most: int) -> str | None:
    return text if text is None or len(text) <= most else f"{text[:most]}…"


RECORD: Final = web.RequestKey("record", RequestRecord)
