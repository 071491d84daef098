"""Runs the probes in order, each with its own time limit and all within one for the whole check."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

from gateway.anthropic.errors import ApiError
from gateway.commands.check.probes import abilities, answers, connection, limits, thinking, tools
from gateway.commands.check.rows import Finding, Row
from gateway.commands.check.visit import Visit
from gateway.commands.check.wire import NoReply
from gateway.translate.refusals.faults import BackendFault


class Probe(NamedTuple):
    """A row of the report, and how to fill it. `needs`: keys of the rows that must not have failed. `needed`: whether
    Claude Code cannot work without it. `share`: its time limit, in multiples of the limit for one answer. `full`: run
    only with --full.
    """

    key: str
    title: str
    run: Callable[[Visit], Awaitable[Finding]]
    needs: tuple[str, ...] = ()
    needed: bool = False
    share: float = 1.0
    full: bool = False


_ANSWERS: Final = ("whole",)
PROBES: Final = (
    Probe("reachable", "Connection", connection.reachable, needed=True, share=3),
    Probe("tls", "TLS", connection.tls, ("reachable",), needed=True),
    Probe("key", "Key", connection.key, ("reachable", "tls"), needed=True, share=2),
    Probe("models", "Models", connection.models, ("reachable", "tls", "key"), needed=True),
    Probe("whole", "Answers", answers.whole, ("key", "models"), needed=True, share=2),
    Probe("streaming", "Streaming", answers.streaming, _ANSWERS, needed=True),
    Probe("speed", "Speed", answers.speed, ("streaming",)),
    Probe("usage", "Usage", answers.usage, ("streaming",)),
    Probe("tools", "Tools", tools.auto, _ANSWERS, needed=True),
    Probe("results", "Tool results", tools.results, _ANSWERS, needed=True),
    Probe("forced", "Forced tools", tools.forced, _ANSWERS),
    Probe("parallel", "Parallel tools", tools.parallel, ("tools",)),
    Probe("thinking", "Thinking", thinking.thinking, _ANSWERS, share=2),
    Probe("images", "Images", abilities.images, _ANSWERS),
    Probe("schema", "JSON schema", abilities.schema, _ANSWERS),
    Probe("context", "Context", limits.context, _ANSWERS, needed=True),
    Probe("cache", "Prefix cache", limits.cache, _ANSWERS, share=2),
    Probe("counting", "Token count", limits.counting, _ANSWERS),
    Probe("overflow", "Overflow", limits.overflow, _ANSWERS, needed=True, share=4, full=True),
    Probe("workarounds", "Workarounds", abilities.workarounds, _ANSWERS),
)
_SLOW: Final = "the model may be loading, or may be slow: give it more time with --patience SECONDS"


async def examine(
    visit: Visit, *, patience: float, seconds: float, begin: Callable[[Probe], None]
) -> AsyncIterator[Row]:
    """Yield the rows as they are found. `patience`: time limit for one answer, in seconds; `seconds`: for all probes
    together. `begin` is called with each probe that starts.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    failed: set[str] = set()
    for probe in PROBES:
        if probe.full and not visit.full:
            continue
        started = loop.time()
        if failed.intersection(probe.needs):
            finding = Finding("skipped", "not tried: it depends on something that failed above")
        elif started >= ends:
            finding = Finding(
                "skipped", "not tried: the time limit was reached", "give the check more time with --within SECONDS"
            )
        else:
            begin(probe)
            finding = await _find(visit, probe, min(probe.share * patience, ends - started))
        if finding.mark in ("bad", "skipped"):
            failed.add(probe.key)
        yield _row(visit, probe, finding, loop.time() - started)


async def _find(visit: Visit, probe: Probe, seconds: float) -> Finding:
    try:
        async with asyncio.timeout(seconds):
            return await probe.run(visit)
    except TimeoutError:
        return Finding("bad", f"no answer within {seconds:.0f} s", _SLOW)
    except NoReply as failure:
        return failure.finding
    except ApiError as fault:
        return Finding("bad", visit.secrets.quote(fault.message), _remedy(fault))


def _remedy(fault: ApiError) -> str:
    """What to do about a fault that the probe itself does not explain."""
    if fault.status in (429, 529):
        return "wait a while and check again: the backend has no capacity, or your account's limit is reached"
    if fault.status == 404:
        return "name a model that the backend serves: --model NAME"
    if fault.status >= 500:
        return "check the server's log, then run the check again"
    return "see the backend's message" if isinstance(fault, BackendFault) else ""


def _row(visit: Visit, probe: Probe, finding: Finding, seconds: float) -> Row:
    clean = visit.secrets.clean
    return Row(
        key=probe.key,
        title=probe.title,
        needed=probe.needed,
        mark=finding.mark,
        said=clean(finding.said),
        remedy=clean(finding.remedy),
        seconds=round(seconds, 2),
        facts=clean(finding.facts),
    )
