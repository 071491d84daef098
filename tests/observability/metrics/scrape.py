"""Metrics as Prometheus reads them, through the parser of its client library."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_DEADLINE_SECONDS = 10.0


@dataclass(frozen=True)
class Scrape:
    """The result of one scrape."""

    text: str

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """A series' values by the values of its labels, in the order of the labels' names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == f"claude_gateway_{name}" or sample.name == name
        }

    def changed(self, name: str) -> dict[tuple[str, ...], float]:
        """The same without zero values."""
        return {labels: value for labels, value in self.series(name).items() if value}

    @property
    def names(self) -> set[str]:
        """The names of all series, including those of histograms without samples."""
        found: set[str] = set()
        for family in text_string_to_metric_families(self.text):
            found |= {sample.name for sample in family.samples}
            endings = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
            found |= {family.name + ending for ending in endings}
        return found


async def scrape(url: str) -> Scrape:
    """One scrape, on its own connection."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return Scrape(await response.text())


async def scrape_until(url: str, holds: Callable[[Scrape], bool]) -> Scrape:
    """Scrape until a condition holds: a request is counted a moment after its answer."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not holds(last := await scrape(url)):
        assert time.monotonic() < deadline, last.text
        await asyncio.sleep(0.02)
    return last
