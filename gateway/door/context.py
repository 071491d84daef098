"""What handlers work with: the parts of the gateway."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.anthropic.known_tools import KnownTools
from gateway.backend.adapter import Backend
from gateway.backend.models.catalogue import Catalogue
from gateway.backend.policy.breaker import BreakerStatus
from gateway.documents.reader import DocumentReader
from gateway.door.body import BodyLimits
from gateway.door.keys import KeyRing
from gateway.interprocess.scoreboard import Scoreboard
from gateway.observability.status.history import History
from gateway.record.in_flight import InFlight
from gateway.relay.keep_alive import KeepAlive
from gateway.tokens.count import TokenCounter


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts, wired together by `make_app`. `counting` runs token counts outside the event loop, `large` the work on
    large requests, one at a time; `scoreboard` is there if other processes serve, too.
    """

    version: str
    started: float
    backend: Backend
    catalogue: Catalogue
    limits: BodyLimits
    known_tools: KnownTools
    counter: TokenCounter
    counting: Executor
    large: Executor
    documents: DocumentReader
    keep_alive: KeepAlive
    keys: KeyRing
    in_flight: InFlight
    history: History
    # set when the gateway has been told to end
    stopping: asyncio.Event
    scoreboard: Scoreboard | None = None

    @property
    def streams(self) -> int:
        """How many answers are in progress, in all processes."""
        return self.scoreboard.streams if self.scoreboard else self.in_flight.count

    @property
    def breaker(self) -> BreakerStatus:
        """The circuit breaker's status; of several processes, the worst."""
        return self.scoreboard.breaker if self.scoreboard else self.backend.breaker.status

    def warm_up(self) -> None:
        """Load the vocabulary now, in the background, so that the first request need not wait for it."""
        self.counting.submit(self.counter.load)


GATEWAY: Final = web.AppKey("gateway", Gateway)
