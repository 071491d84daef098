"""The changes from one state to the next as lines, for pipes, files and other programs."""

import time
from collections.abc import Iterator

from gateway.commands.watch.reader import News
from gateway.commands.watch.text import duration, outcome, rate, short
from gateway.observability.status.state import Failure, Finished, Running


def changes(before: News | None, after: News) -> Iterator[str]:
    """A line for each event between the two states; without `before`, one line that describes the first state."""
    if before is None:
        yield _first(after)
        return
    if before.connected != after.connected:
        yield "connected again" if after.connected else "connection lost, trying again"
    old, new = before.state, after.state
    known = {one.id for one in old.requests} | {ended.id for ended in old.finished}
    yield from (_started(one) for one in new.requests if one.id not in known)
    ended_before = {ended.id for ended in old.finished}
    yield from (_ended(ended) for ended in reversed(new.finished) if ended.id not in ended_before)
    told = {(failure.text, failure.last_at) for failure in old.failures}
    yield from (_failure(one) for one in reversed(new.failures) if (one.text, one.last_at) not in told)
    if old.breaker.state != new.breaker.state:
        yield f"breaker   {old.breaker.state} → {new.breaker.state}"
    if old.backend.models != new.backend.models and new.backend.models is not None:
        yield f"models    {new.backend.models}: {', '.join(model.id for model in new.models[:5])}"
    if new.gateway.stopping and not old.gateway.stopping:
        yield "stopping  the gateway is shutting down"


def stamped(line: str) -> str:
    """The line, prefixed with the time of day."""
    return f"{time.strftime('%H:%M:%S')} {line}"


def _first(news: News) -> str:
    state = news.state
    return (
        f"watching  claude-gateway {state.gateway.version} in front of {state.backend.url}: {state.in_flight} in "
        f"progress, {state.totals.requests} requests, {state.totals.failed} failed, breaker {state.breaker.state}"
    )


def _started(one: Running) -> str:
    return f"started   {one.id} {_who(one.model, one.client)}"


def _ended(ended: Finished) -> str:
    parts = [f"{outcome(ended)} after {duration(ended.duration_ms / 1000)}"]
    if ended.first_event_ms is not None:
        parts.append(f"first token after {duration(ended.first_event_ms / 1000)}")
    if ended.output_tokens is not None:
        parts.append(f"{short((ended.input_tokens or 0) + (ended.cached_tokens or 0))} tokens in")
        parts.append(f"{short(ended.output_tokens)} out")
    if ended.tokens_per_second is not None:
        parts.append(f"{rate(ended.tokens_per_second)}/s")
    return f"finished  {ended.id} {_who(ended.model, ended.client)}: {', '.join(parts)}"


def _failure(failure: Failure) -> str:
    status = f"{failure.status} " if failure.status not in (None, 200) else ""
    return f"error     {status}{failure.text} | {failure.advice}"


def _who(model: str, client: str) -> str:
    return f"{model or '-'} for {client}" if client else model or "-"
