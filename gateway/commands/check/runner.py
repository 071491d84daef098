"""One probe after the other, each with its own limit of time, all within one for the whole."""

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
    """A row of the report before it is filled. `needs`: rows that must not be bad; `needed`: by Claude Code; `share`:
    how many times the time of one answer it may take; `full`: only on demand.
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
_SLOW: Final = "the model may be loading, or slow: give it more time with --patience SECONDS"


async def examine(
    visit: Visit, *, patience: float, seconds: float, begin: Callable[[Probe], None]
) -> AsyncIterator[Row]:
    """The rows, as they are found. `patience`: seconds for one answer; `seconds`: for all; `begin` hears of each probe
    that starts.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    failed: set[str] = set()
    for probe in PROBES:
        if probe.full and not visit.full:
            continue
        started = loop.time()
        if failed.intersection(probe.needs):
            finding = Finding("skipped", "not tried: it needs what failed above")
        elif started >= ends:
            finding = Finding(
                "skipped", "not tried: the time was over", "give the check more time with --within SECONDS"
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
    """What to do about a fault that no probe knows better."""
    if fault.status in (429, 529):
        return "wait a while, and check again: the backend has no room, or your account's limit is reached"
    if fault.status == 404:
        return "name a model that the backend serves: --model NAME"
    if fault.status >= 500:
        return "look into the server's log, and check again"
    return "see what the backend says" if isinstance(fault, BackendFault) else ""


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
