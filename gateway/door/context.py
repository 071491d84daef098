"""What handlers work with: the parts of the gateway."""

import asyncio
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.door.body import BodyLimits
from gateway.door.uploads import Uploads
from gateway.interprocess.across_workers import AcrossWorkers
from gateway.record.in_flight import InFlight
from gateway.relay.keep_alive import KeepAlive
from gateway.turn.context import TurnContext


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts, wired together by `make_app`. `started` is in seconds of `time.monotonic`; `stopping` is set once the
    gateway has been told to shut down.
    """

    version: str
    started: float
    turns: TurnContext
    limits: BodyLimits
    uploads: Uploads
    keep_alive: KeepAlive
    in_flight: InFlight
    workers: AcrossWorkers
    stopping: asyncio.Event

    def warm_up(self) -> None:
        """Load the tokenizer's vocabulary in the background, so that the first request need not wait for it."""
        self.turns.counting.submit(self.turns.counter.load)


GATEWAY: Final = web.AppKey("gateway", Gateway)
