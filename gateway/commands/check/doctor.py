"""The whole check, from the settings to the exit code."""

import asyncio

from gateway import __version__
from gateway.commands.check.recommended_settings import client_settings, gateway_settings, profile_name
from gateway.commands.check.report import Report, Summary, exit_code
from gateway.commands.check.rows import Row
from gateway.commands.check.runner import Probe, examine
from gateway.commands.check.visit import Visit, visiting
from gateway.settings import Settings


async def check(
    settings: Settings, report: Report, *, token: str, model: str, full: bool, patience: float, within: float
) -> int:
    """Check the backend. Returns the exit code: 0 if Claude Code has what it needs, 1 if not.

    `model`: "" for the first one listed. `patience`: time limit for one answer, in seconds. `within`: time limit for
    the whole check, in seconds. If cancelled, it reports what it has found so far.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    rows: list[Row] = []
    complete = False

    def begin(probe: Probe) -> None:
        report.begin(probe.title)

    async with visiting(settings, token=token, model=model, full=full, patience=patience) as visit:
        try:
            async for row in examine(visit, patience=patience, seconds=within, begin=begin):
                rows.append(row)
                report.add(row)
            complete = True
        finally:
            summary = _summary(visit, complete=complete, seconds=loop.time() - started)
            report.end(rows, summary)
    return exit_code(rows, summary)


def _summary(visit: Visit, *, complete: bool, seconds: float) -> Summary:
    spent = visit.asker.spent if visit.has_asker else None
    answered = visit.has_asker and bool(visit.asker.answers)
    clean = visit.secrets.clean
    return Summary(
        version=__version__,
        backend=visit.endpoint.shown,
        model=clean(visit.asker.model) if visit.has_asker else "",
        profile=profile_name(visit),
        complete=complete,
        seconds=round(seconds, 1),
        requests=spent.requests if spent else 0,
        input_tokens=spent.input_tokens if spent else 0,
        output_tokens=spent.output_tokens if spent else 0,
        settings=clean(gateway_settings(visit)) if answered else {},
        client=clean(client_settings(visit)) if answered else {},
    )
