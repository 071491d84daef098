"""The requests that ended last, and what all of them add up to.

All that is kept while nobody watches; noted once for each request, at its end.
"""

import time
from collections import deque
from typing import Final

from gateway.web.advice import advice
from gateway.web.exchange import Exchange
from gateway.web.status import Failure, Finished, Totals

_MOST_FINISHED: Final = 50
_MOST_FAILURES: Final = 20
# of what clients name: a model, or a field within an error
_NAME_CHARACTERS: Final = 120
_TEXT_CHARACTERS: Final = 400
_MESSAGES: Final = ("/v1/messages", "/v1/v1/messages")


class History:
    """What one process has done."""

    def __init__(self) -> None:
        self.finished: deque[Finished] = deque(maxlen=_MOST_FINISHED)
        self.totals = Totals()
        # models that were seen to think
        self.thinkers: set[str] = set()
        self._failed: deque[Finished] = deque(maxlen=_MOST_FAILURES)

    def note(self, path: str, exchange: Exchange, status: int | None) -> None:
        """A request has ended. Of those that are none for a message, only the failed ones are kept."""
        if path in _MESSAGES:
            ended = _finished(exchange, status)
            self.finished.append(ended)
            self._count(exchange)
        elif exchange.error is None or not path.startswith("/v1/"):
            return
        else:
            ended = _finished(exchange, status)
        if exchange.error is not None:
            self._failed.append(ended)

    @property
    def failures(self) -> list[Failure]:
        """The last errors, the newest first; equal ones are counted."""
        found: dict[tuple[str, int | None, str], Failure] = {}
        for ended in reversed(self._failed):
            key = (ended.outcome, ended.status, ended.error or "")
            before = found.get(key)
            found[key] = Failure(
                last_at=before.last_at if before else ended.ended_at,
                outcome=ended.outcome,
                text=ended.error or "",
                advice=advice(ended.outcome, ended.status),
                status=ended.status,
                count=before.count + 1 if before else 1,
            )
        return list(found.values())

    def _count(self, exchange: Exchange) -> None:
        totals, usage, writer = self.totals, exchange.usage, exchange.writer
        totals.requests += 1
        if exchange.outcome == "ok":
            totals.ok += 1
        elif exchange.outcome == "client_gone":
            totals.client_gone += 1
        else:
            totals.failed += 1
        if usage is not None:
            totals.input_tokens += usage.input_tokens
            totals.cached_tokens += usage.cache_read_input_tokens
            totals.output_tokens += usage.output_tokens
        if writer is not None and writer.has_thought and (model := exchange.backend_model):
            self.thinkers.add(model)


def shown_model(exchange: Exchange) -> str:
    """The model's name, the backend's where that is known."""
    name = (exchange.backend_model or exchange.model or "")[:_NAME_CHARACTERS]
    # a client may send what a terminal would obey
    return name if name.isprintable() else "".join(letter if letter.isprintable() else "�" for letter in name)


def _finished(exchange: Exchange, status: int | None) -> Finished:
    now, usage, first = time.perf_counter(), exchange.usage, exchange.first_event
    rate = None
    if usage is not None and first is not None and now > first:
        rate = round(usage.output_tokens / (now - first), 1)
    return Finished(
        id=exchange.request_id,
        ended_at=round(time.time(), 3),
        outcome=exchange.outcome,
        model=shown_model(exchange),
        client=exchange.client or "",
        status=status,
        stream=bool(exchange.stream),
        stop_reason=exchange.stop_reason,
        error=exchange.error and exchange.error[:_TEXT_CHARACTERS],
        input_tokens=usage.input_tokens if usage else None,
        cached_tokens=usage.cache_read_input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        first_event_ms=None if first is None else round((first - exchange.started) * 1000, 1),
        duration_ms=round((now - exchange.started) * 1000, 1),
        tokens_per_second=rate,
        bytes=exchange.sent,
    )
