"""The last finished requests, and the totals of all.

This is all that is kept while nobody watches. A request is noted once, at its end.
"""

import time
from collections import deque
from typing import Final

from aiohttp import web

from gateway.anthropic.writer import Usage
from gateway.observability.status.advice import advice
from gateway.observability.status.state import Failure, Finished, Totals
from gateway.record.api_paths import GUARDED, MESSAGES, messages_path
from gateway.record.request_record import RequestRecord

_MOST_FINISHED: Final = 50
_MOST_FAILURES: Final = 20
# the longest model name shown, since clients choose them
_NAME_CHARACTERS: Final = 120
_TEXT_CHARACTERS: Final = 400
_MOST_THINKERS: Final = 100


# what is kept of a request until somebody looks: id; `time.perf_counter` at its start, first event and end; `time.time`
# at its end; outcome, model, client, status, whether streamed, stop reason, error, usage, bytes
_Row = tuple[
    str, float, float | None, float, float, str, str, str, int | None, bool, str | None, str | None, Usage | None, int
]


class History:
    """What one worker has done."""

    def __init__(self) -> None:
        self.totals = Totals()
        # models of which an answer contained thinking, the one that did so last at the end
        self._thinkers: dict[str, None] = {}
        self._ended: deque[_Row] = deque(maxlen=_MOST_FINISHED)
        self._failed: deque[_Row] = deque(maxlen=_MOST_FAILURES)

    def ended(self, request: web.Request, record: RequestRecord, status: int | None) -> None:
        """A request has ended. Among requests other than for messages, only failed ones are kept.

        This runs for every request, so it defers all formatting until somebody looks.
        """
        path = request.path
        if messages_path(path) == MESSAGES:
            row = _row(record, status)
            self._ended.append(row)
            self._count(record)
        elif record.error is None or not path.startswith(GUARDED):
            return
        else:
            row = _row(record, status)
        if record.error is not None:
            self._failed.append(row)

    @property
    def thinkers(self) -> set[str]:
        """The models of which an answer contained thinking; of many, those that did so last."""
        return set(self._thinkers)

    @property
    def finished(self) -> list[Finished]:
        """The last requests for messages, the newest first."""
        return [_finished(row) for row in reversed(self._ended)]

    @property
    def failures(self) -> list[Failure]:
        """The last errors, the newest first; equal ones are merged and counted."""
        found: dict[tuple[str, int | None, str], Failure] = {}
        for ended in map(_finished, reversed(self._failed)):
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

    def _count(self, record: RequestRecord) -> None:
        totals, usage, writer = self.totals, record.usage, record.writer
        totals.requests += 1
        if record.outcome == "ok":
            totals.ok += 1
        elif record.outcome == "client_gone":
            totals.client_gone += 1
        else:
            totals.failed += 1
        if usage is not None:
            totals.input_tokens += usage.input_tokens
            totals.cached_tokens += usage.cache_read_input_tokens
            totals.output_tokens += usage.output_tokens
        if writer is not None and writer.has_thought and (model := record.backend_model):
            self._note_thinker(_shown(model))

    def _note_thinker(self, model: str) -> None:
        self._thinkers.pop(model, None)
        self._thinkers[model] = None
        if len(self._thinkers) > _MOST_THINKERS:
            del self._thinkers[next(iter(self._thinkers))]


def shown_model(record: RequestRecord) -> str:
    """The backend's name of the model if known, otherwise the client's."""
    return _shown(record.backend_model or record.model or "")


def _shown(name: str) -> str:
    name = name[:_NAME_CHARACTERS]
    # a client may send control characters for a terminal
    return name if name.isprintable() else "".join(letter if letter.isprintable() else "�" for letter in name)


def _row(record: RequestRecord, status: int | None) -> _Row:
    return (
        record.request_id,
        record.started,
        record.first_event,
        time.perf_counter(),
        time.time(),
        record.outcome,
        record.backend_model or record.model or "",
        record.client or "",
        status,
        record.stream is True,
        record.stop_reason,
        record.error,
        record.usage,
        record.sent,
    )


def _finished(row: _Row) -> Finished:
    request_id, started, first, ended, ended_at, outcome, model, client, status, stream, reason, error, usage, sent = (
        row
    )
    rate = None
    if usage is not None and first is not None and ended > first:
        rate = round(usage.output_tokens / (ended - first), 1)
    return Finished(
        id=request_id,
        ended_at=round(ended_at, 3),
        outcome=outcome,
        model=_shown(model),
        client=client,
        status=status,
        stream=stream,
        stop_reason=reason,
        error=error and error[:_TEXT_CHARACTERS],
        input_tokens=usage.input_tokens if usage else None,
        cached_tokens=usage.cache_read_input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        first_event_ms=None if first is None else round((first - started) * 1000, 1),
        duration_ms=round((ended - started) * 1000, 1),
        tokens_per_second=rate,
        bytes=sent,
    )
