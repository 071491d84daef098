"""The record of one request and its answer."""

import time
from typing import TYPE_CHECKING, Final

from aiohttp import web
from msgspec import Struct, field

from gateway.anthropic.ids import new_request_id
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.writer import Usage
from gateway.door.keys import Holder

if TYPE_CHECKING:
    from gateway.observability.tracing.protocols import RequestTrace
    from gateway.relay.fast_path import Lane


class Exchange(Struct, eq=False):
    """One request and its answer, for the log line. Holds no prompt and no answer; the token is never logged."""

    request_id: str = field(default_factory=new_request_id)
    started: float = field(default_factory=time.perf_counter)
    token: str = ""
    holder: Holder | None = None
    client: str | None = None
    model: str | None = None
    backend_model: str | None = None
    stream: bool | None = None
    # of a stream: tells how far it is
    writer: StreamWriter | None = None
    usage: Usage | None = None
    stop_reason: str | None = None
    first_event: float | None = None
    # when the first content had gone out, and when the answer was whole
    first_content: float | None = None
    answered: float | None = None
    # bytes of the answer, without those of the lane that is open
    counted: int = 0
    lane: "Lane | None" = None
    # whether the gateway, not the client, ends the answer early
    cut: bool = False
    retries: int | None = None
    outcome: str = "ok"
    error: str | None = None
    error_type: str | None = None
    # where spans are recorded; and the model that the backend says it is
    trace: "RequestTrace | None" = None
    response_model: str | None = None

    def __repr__(self) -> str:
        """Without the token."""
        return f"Exchange({self.request_id})"

    @property
    def sent(self) -> int:
        """Bytes of the answer that went out."""
        return self.counted + (self.lane.sent if self.lane is not None else 0)

    def event_sent(self, size: int) -> None:
        """Bytes of a stream went out."""
        if self.first_event is None:
            self.first_event = time.perf_counter()
        self.counted += size


EXCHANGE: Final = web.RequestKey("exchange", Exchange)
