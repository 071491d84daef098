"""What this worker is doing at one moment, read from the live objects: watching costs the requests nothing.

Nobody counts tokens while a stream runs; only its bytes are known. The bytes per token depend on the backend, which may
send several tokens in a chunk, so they are learnt from finished answers, whose tokens the backend has counted.
"""

import time
from collections.abc import Iterable
from typing import Final

from gateway.anthropic.stream import State as StreamState
from gateway.anthropic.stream import StreamWriter
from gateway.observability.status.history import History, shown_model
from gateway.observability.status.state import Finished, RequestState, Running, Sample
from gateway.record.in_flight import InFlight
from gateway.record.request_record import RECORD, RequestRecord

# the oldest are shown: they are the ones that a reader wonders about
_MOST_REQUESTS: Final = 100
# the assumed size of an event with one token: its frame, and about four characters
_USUAL_BYTES: Final = 125.0
# the approximate size of an answer without its tokens: start and end of the message and of one block
_FRAME_BYTES: Final = 750
# a shorter answer consists mostly of frames
_LEAST_TOKENS: Final = 8
# a rate over a shorter time is meaningless
_SHORTEST_SECONDS: Final = 0.1
# the weight of the newest rate in the displayed one, which would otherwise jump
_WEIGHT: Final = 0.5
_ENDED: Final = (StreamState.MESSAGE_ENDED, StreamState.CLOSED)
_STATES: Final[dict[StreamState, RequestState]] = {
    StreamState.IN_THINKING: "thinking",
    StreamState.IN_REDACTED_THINKING: "thinking",
    StreamState.IN_TEXT: "writing",
    StreamState.IN_TOOL_USE: "calling a tool",
    StreamState.MESSAGE_ENDED: "ending",
    StreamState.CLOSED: "ending",
}


class Sampler:
    """Takes samples. Rates are measured since the previous sample."""

    def __init__(self, in_flight: InFlight, history: History) -> None:
        self._in_flight = in_flight
        self._history = history
        self._taken_at: float | None = None
        # by request id: bytes sent, and the displayed rate
        self._seen: dict[str, tuple[int, float]] = {}

    def forget(self) -> None:
        """Make the next sample the first of a new series."""
        self._taken_at = None
        self._seen = {}

    def take(self) -> Sample:
        """Take a sample."""
        now, history = time.perf_counter(), self._history
        records = [request[RECORD] for request in self._in_flight.requests]
        finished = history.finished
        ratios = _bytes_per_token(finished)
        seconds = now - self._taken_at if self._taken_at is not None else 0.0
        rate = self._ended_since(finished, ratios, seconds)
        seen: dict[str, tuple[int, float]] = {}
        running: list[Running] = []
        for record in records:
            per_token = ratios.get(shown_model(record)) or ratios[""]
            sent, shown = self._seen.get(record.request_id, (0, 0.0))
            tokens = (record.sent - sent) / per_token if seconds > 0 else 0.0
            rate += tokens / seconds if tokens else 0.0
            # a stream that began since the last sample had less time
            span = min(seconds, now - record.first_event) if record.first_event else seconds
            current = tokens / max(span, _SHORTEST_SECONDS) if tokens else 0.0
            shown = current if not shown else _WEIGHT * current + (1 - _WEIGHT) * shown
            seen[record.request_id] = (record.sent, shown)
            if len(running) < _MOST_REQUESTS:
                running.append(_running(record, now, per_token, shown))
        self._seen, self._taken_at = seen, now
        return Sample(
            sampled_at=round(time.time(), 3),
            in_flight=len(records),
            requests=running,
            finished=finished,
            failures=history.failures,
            totals=history.totals,
            tokens_per_second=round(rate, 1),
            thinkers=sorted(history.thinkers.union(_thinking(records))),
        )

    def _ended_since(self, finished: list[Finished], ratios: dict[str, float], seconds: float) -> float:
        """The rate of the requests that have ended since the last sample, in tokens per second."""
        if seconds <= 0:
            return 0.0
        since = time.time() - seconds
        rate = 0.0
        for ended in finished:
            if ended.stream and ended.ended_at >= since:
                sent, _ = self._seen.get(ended.id, (0, 0.0))
                rate += (ended.bytes - sent) / (ratios.get(ended.model) or ratios[""]) / seconds
        return rate


def _bytes_per_token(finished: Iterable[Finished]) -> dict[str, float]:
    """Bytes per token by model; the entry "" is for models without a finished answer."""
    sums: dict[str, tuple[int, int]] = {}
    for ended in finished:
        if ended.stream and ended.output_tokens and ended.output_tokens >= _LEAST_TOKENS and ended.bytes:
            for name in (ended.model, ""):
                size, tokens = sums.get(name, (0, 0))
                sums[name] = (size + max(0, ended.bytes - _FRAME_BYTES), tokens + ended.output_tokens)
    return {"": _USUAL_BYTES} | {name: size / tokens for name, (size, tokens) in sums.items() if size}


def _running(record: RequestRecord, now: float, per_token: float, rate: float) -> Running:
    first = record.first_event
    return Running(
        id=record.request_id,
        model=shown_model(record),
        client=record.client or "",
        state=_state(record.writer),
        stream=record.stream is not False,
        age_seconds=round(now - record.started, 1),
        first_event_ms=None if first is None else round((first - record.started) * 1000, 1),
        bytes=record.sent,
        tokens=int(record.sent / per_token),
        tokens_per_second=round(rate, 1),
        retries=record.retries or 0,
    )


def _state(writer: StreamWriter | None) -> RequestState:
    if writer is None or not (writer.has_content or writer.state in _ENDED):
        return "waiting"
    # between two blocks, the next one is being written
    return _STATES.get(writer.state, "writing")


def _thinking(records: Iterable[RequestRecord]) -> Iterable[str]:
    return (shown_model(record) for record in records if record.writer and record.writer.has_thought)
