"""The state that the feed publishes, over all workers.

If there are several, each writes its own sample to shared memory while anybody follows the feed, and the worker that
serves the feed combines them. The counts of a worker that died are lost.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import msgspec

from gateway.backend.models.catalogue import Catalogue
from gateway.interprocess.across_workers import AcrossWorkers
from gateway.interprocess.sample_slots import SampleSlot
from gateway.observability.status.history import History
from gateway.observability.status.sampler import Sampler
from gateway.observability.status.state import (
    BackendStatus,
    BreakerState,
    Failure,
    Finished,
    GatewayStatus,
    ModelStatus,
    Running,
    Sample,
    State,
    Totals,
)
from gateway.openai.models import Model
from gateway.record.in_flight import InFlight

# limits of the published state, over all workers
_MOST_REQUESTS: Final = 100
_MOST_FINISHED: Final = 50
_MOST_FAILURES: Final = 20
_MOST_MODELS: Final = 500
_NAME_CHARACTERS: Final = 120
_RATES: Final = 120
_PUBLISH_SECONDS: Final = 1.0
# how often an idle worker checks for readers, and how long to wait for all workers to notice one
_NOTICE_SECONDS: Final = 0.25
_GATHER_SECONDS: Final = 1.0
# a worker whose sample is older is not keeping up
_STALE_SECONDS: Final = 5.0

_decode = msgspec.json.Decoder(Sample).decode


@dataclass(frozen=True, slots=True)
class Sources:
    """The live objects that the state is read from. `started`: a time of `time.monotonic`. `slot`: where this worker
    writes its samples; None if it is the only worker.
    """

    version: str
    started: float
    backend_url: str
    catalogue: Catalogue
    in_flight: InFlight
    history: History
    workers: AcrossWorkers
    stopping: asyncio.Event
    needs_key: Callable[[], bool]
    slot: SampleSlot | None = None


class StateAggregator:
    """Builds the state from the samples of all workers. The feed calls `look` once a second while it has readers."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._sampler = Sampler(sources.in_flight, sources.history)
        self._slot = sources.slot
        self._others: dict[int, Sample] = {}
        self._rates: deque[float] = deque(maxlen=_RATES)
        self._started_at = round(time.time() - (time.monotonic() - sources.started), 1)

    async def prepare(self) -> None:
        """Make the other workers publish samples, and wait for these, for at most one second."""
        if self._slot is None:
            return
        board, since = self._slot.board, time.time()
        board.look()
        deadline = time.monotonic() + _GATHER_SECONDS
        while time.monotonic() < deadline:
            samples = self._read_others()
            if len(samples) + 1 >= self._workers and all(sample.sampled_at >= since for sample in samples):
                return
            await asyncio.sleep(_NOTICE_SECONDS / 5)

    def look(self, first: bool) -> State:
        """The current state; `first` begins a series."""
        if first:
            self._sampler.forget()
            self._rates.clear()
        if self._slot is not None:
            self._slot.board.look()
        own = self._sampler.take()
        samples = [own, *self._read_others()]
        self._rates.append(round(sum(sample.tokens_per_second for sample in samples), 1))
        sources = self._sources
        totals = Totals()
        for sample in samples:
            totals.add(sample.totals)
        thinkers = {name for sample in samples for name in sample.thinkers}
        return State(
            gateway=GatewayStatus(
                version=sources.version,
                started_at=self._started_at,
                workers=self._workers,
                workers_seen=len(samples),
                keys=sources.needs_key(),
                stopping=sources.stopping.is_set(),
            ),
            backend=self._backend(),
            breaker=BreakerState(**sources.workers.breaker._asdict()),
            in_flight=sources.workers.streams,
            requests=_oldest(samples),
            finished=_newest(samples),
            failures=_failures(samples),
            totals=totals,
            rates=list(self._rates),
            models=[_model(model, thinkers) for model in sources.catalogue.models[:_MOST_MODELS]],
        )

    async def publish(self) -> None:
        """Publish this worker's samples to the others while anybody follows the feed. Run this as a task."""
        if self._slot is None:
            return
        sampler = Sampler(self._sources.in_flight, self._sources.history)
        encode = msgspec.json.encode
        while True:
            if not self._slot.board.looked_at:
                sampler.forget()
                await asyncio.sleep(_NOTICE_SECONDS)
                continue
            self._slot.write(encode(sampler.take()))
            await asyncio.sleep(_PUBLISH_SECONDS)

    @property
    def _workers(self) -> int:
        return self._sources.workers.count

    def _read_others(self) -> list[Sample]:
        """The other workers' samples; the previous one of a worker that is just writing."""
        if self._slot is None:
            return []
        fresh: dict[int, Sample] = {}
        for number, slot in enumerate(self._slot.board.slots):
            if slot is self._slot:
                continue
            content = slot.read()
            sample = self._others.get(number) if content is None else _decode(content) if content else None
            if sample is not None and time.time() - sample.sampled_at < _STALE_SECONDS:
                fresh[number] = sample
        self._others = fresh
        return list(fresh.values())

    def _backend(self) -> BackendStatus:
        catalogue = self._sources.catalogue
        return BackendStatus(
            url=self._sources.backend_url,
            reached=catalogue.reached,
            models=len(catalogue.models) if catalogue.loaded else None,
        )


def _oldest(samples: Iterable[Sample]) -> list[Running]:
    requests = [running for sample in samples for running in sample.requests]
    return sorted(requests, key=attrgetter("age_seconds"), reverse=True)[:_MOST_REQUESTS]


def _newest(samples: Iterable[Sample]) -> list[Finished]:
    finished = [ended for sample in samples for ended in sample.finished]
    return sorted(finished, key=attrgetter("ended_at"), reverse=True)[:_MOST_FINISHED]


def _failures(samples: Iterable[Sample]) -> list[Failure]:
    """The newest first; equal failures of several workers are merged."""
    found: dict[tuple[str, int | None, str], Failure] = {}
    for failure in (failure for sample in samples for failure in sample.failures):
        key = (failure.outcome, failure.status, failure.text)
        if before := found.get(key):
            last_at, count = max(before.last_at, failure.last_at), before.count + failure.count
            found[key] = msgspec.structs.replace(failure, last_at=last_at, count=count)
        else:
            found[key] = failure
    return sorted(found.values(), key=attrgetter("last_at"), reverse=True)[:_MOST_FAILURES]


def _model(model: Model, thinkers: set[str]) -> ModelStatus:
    top = model.top_provider
    return ModelStatus(
        id=model.id[:_NAME_CHARACTERS],
        context_window=model.context_window,
        max_tokens=top.max_completion_tokens if top else None,
        images=model.sees_images,
        thinking="seen" if model.id[:_NAME_CHARACTERS] in thinkers else "offered" if model.thinks else "",
    )
