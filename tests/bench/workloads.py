"""What is measured, and what is wanted of it."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["event", "request"]


def model(events: int, milliseconds: int, kind: str = "") -> str:
    """The name for which the backend streams so many events, so far apart."""
    return f"bench-{events}-{milliseconds}" + (f"-{kind}" if kind else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests from `connections` clients at once; `events` of content in each answer, `milliseconds` apart."""

    what: str
    unit: Unit
    events: int
    milliseconds: int = 0
    kind: str = ""
    connections: int
    requests: int
    body: str = "text"
    kilobytes: int = 1
    # times nginx; None: nothing is wanted
    at_least: float | None = None
    aim: float | None = None
    # measured when it is named only
    extra: bool = False

    @property
    def model(self) -> str:
        """The name for which the backend streams this."""
        return model(self.events, self.milliseconds, self.kind)


WORKLOADS = {
    "paced": Workload(
        what="50 streams of 200 text events at 100/s",
        unit="event",
        events=200,
        milliseconds=10,
        connections=50,
        requests=150,
        at_least=1.8,
        aim=1.5,
    ),
    "crowd": Workload(
        what="400 streams of 100 text events at 20/s",
        unit="event",
        events=100,
        milliseconds=50,
        connections=400,
        requests=800,
        at_least=1.9,
        aim=1.5,
    ),
    "think": Workload(
        what="50 streams of 200 events of reasoning at 100/s",
        unit="event",
        events=200,
        milliseconds=10,
        kind="think",
        connections=50,
        requests=100,
        at_least=2.0,
        aim=1.6,
    ),
    "tool": Workload(
        what="50 streams of 200 pieces of a tool's arguments at 100/s",
        unit="event",
        events=200,
        milliseconds=10,
        kind="tool",
        connections=50,
        requests=100,
        at_least=2.0,
        aim=1.6,
    ),
    "burst": Workload(
        what="10 streams of 2,000 text events at once",
        unit="event",
        events=2000,
        connections=10,
        requests=300,
        at_least=4.0,
        aim=3.0,
    ),
    "short": Workload(
        what="answers of one event to requests of 1 KB",
        unit="request",
        events=1,
        connections=4,
        requests=2000,
        at_least=7.0,
        aim=5.0,
    ),
    "turn": Workload(
        what="a turn of Claude Code, 80 KB with 24 tools",
        unit="request",
        events=1,
        connections=4,
        requests=300,
        body="recorded",
        at_least=12.0,
        aim=8.0,
    ),
    "megabyte": Workload(
        what="a conversation of 1 MB in one text",
        unit="request",
        events=1,
        connections=2,
        requests=60,
        kilobytes=1024,
        at_least=6.0,
        aim=5.0,
    ),
    "messages": Workload(
        what="a conversation of 1 MB in 512 messages",
        unit="request",
        events=1,
        connections=2,
        requests=60,
        body="conversation",
        kilobytes=1024,
        extra=True,
    ),
    "few": Workload(
        what="10 streams of 200 text events at 100/s",
        unit="event",
        events=200,
        milliseconds=10,
        connections=10,
        requests=30,
        extra=True,
    ),
}
# KiB of memory for each of 400 open streams
OPEN_STREAMS = 400
MEMORY_AT_LEAST = 48.0
MEMORY_AIM = 24.0
# seconds from a server's start until it listens
START_AT_LEAST = 0.4

# how the cost grows: events of a stream, with how many streams; streams open; KiB of a body, with how many requests
LENGTHS = {50: 200, 200: 50, 1000: 20, 5000: 10}
OPEN_COUNTS = (50, 100, 200, 500, 1000, 2000)
SIZES = {1: 200, 8: 200, 64: 100, 256: 50, 1024: 20, 4096: 10, 8192: 6}
TURNS = (1, 2, 5, 10, 20, 50, 100, 150, 200)
# of all open streams together, a second
EVENTS_PER_SECOND = 5000
ENDLESS = 1_000_000
SHORT = model(1, 0)
# for the bench of isolation: a short answer whose backend thinks about it first, and a stream that stays open
THOUGHTFUL = model(1, 50)
HELD = model(ENDLESS, 2000)


def endless(streams: int) -> str:
    """A model whose streams go on, at EVENTS_PER_SECOND if so many are open."""
    return model(ENDLESS, streams * 1000 // EVENTS_PER_SECOND)


MODELS = sorted(
    {
        SHORT,
        THOUGHTFUL,
        HELD,
        *(workload.model for workload in WORKLOADS.values()),
        *(model(events, 1) for events in LENGTHS),
        *map(endless, (*OPEN_COUNTS, OPEN_STREAMS)),
    }
)
