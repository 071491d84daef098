"""What handlers work with: the parts of the gateway, and the record of one exchange."""

import time
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from gateway.anthropic.writer import Usage
from gateway.backend.adapter import Backend
from gateway.backend.catalogue import Catalogue
from gateway.tokens.count import TokenCounter
from gateway.translate.ids import new_request_id
from gateway.web.documents import DocumentReader
from gateway.web.keep_alive import KeepAlive


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts, wired together by `make_app`. `counting` runs token counts outside the event loop."""

    version: str
    started: float
    backend: Backend
    catalogue: Catalogue
    counter: TokenCounter
    counting: Executor
    documents: DocumentReader
    keep_alive: KeepAlive

    def warm_up(self) -> None:
        """Load the vocabulary now, in the background, so that the first request need not wait for it."""
        self.counting.submit(self.counter.load)


@dataclass(slots=True)
class Exchange:
    """One request and its answer, for the log line. Holds no prompt and no answer; the token is never logged."""

    request_id: str = field(default_factory=new_request_id)
    started: float = field(default_factory=time.perf_counter)
    token: str = field(default="", repr=False)
    model: str | None = None
    backend_model: str | None = None
    stream: bool | None = None
    usage: Usage | None = None
    stop_reason: str | None = None
    first_event: float | None = None
    sent: int = 0
    outcome: str = "ok"
    error: str | None = None

    def event_sent(self, size: int) -> None:
        """Bytes of a stream went out."""
        if self.first_event is None:
            self.first_event = time.perf_counter()
        self.sent += size


GATEWAY: Final = web.AppKey("gateway", Gateway)
EXCHANGE: Final = web.RequestKey("exchange", Exchange)
