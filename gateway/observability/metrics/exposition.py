"""The counters and the current gauges in the formats that Prometheus scrapes.

prometheus-client renders the text format, or OpenMetrics for scrapers that ask for it. It takes 25 ms to import, so
this module is imported only if metrics are on. Any worker answers for all workers.
"""

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from gateway.backend.models.catalogue import Catalogue
from gateway.interprocess.across_workers import AcrossWorkers
from gateway.interprocess.counters import CounterTable, Name
from gateway.interprocess.scoreboard import STATES
from gateway.observability.metrics.series import GROUPS, PREFIX, Series


class _Worker(NamedTuple):
    """The current state of one worker."""

    number: int
    pid: int
    restarts: int
    breaker: str


class Exposition(Collector):
    """The metrics of one gateway, over all its workers. `most`: the limit of concurrent requests (MAX_STREAMS)."""

    def __init__(
        self, table: CounterTable, *, version: str, catalogue: Catalogue, workers: AcrossWorkers, most: int
    ) -> None:
        self._table = table
        self._version = version
        self._catalogue = catalogue
        self._across = workers
        self._most = most
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that an `Accept` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics: prometheus-client's hook."""
        yield from _counted(self._table.totals())
        yield from self._seen()
        yield from _processes(self._workers())

    def _workers(self) -> list[_Worker]:
        rows = self._across.rows
        if not rows:
            return [_Worker(0, os.getpid(), 0, self._across.breaker.state)]
        return [_Worker(row.number, row.pid, row.restarts, row.breaker.state) for row in rows]

    def _seen(self) -> Iterator[Metric]:
        workers = self._workers()
        yield _gauge("requests_in_flight", "Requests for messages in progress.", self._across.streams)
        yield _gauge("requests_in_flight_limit", "Limit of requests in progress (MAX_STREAMS).", self._most)
        yield _gauge(
            "models", "Models in the backend's list; 0 until it has been fetched.", len(self._catalogue.models)
        )
        breakers = GaugeMetricFamily(
            PREFIX + "circuit_breakers",
            "Workers whose circuit breaker is in this state; with one worker, 1 for the current state.",
            labels=["state"],
        )
        for state in STATES:
            breakers.add_metric([state], sum(worker.breaker == state for worker in workers))
        yield breakers
        restarts = CounterMetricFamily(
            PREFIX + "worker_restarts_total", "Times that a worker died and was replaced.", labels=["worker"]
        )
        for worker in workers:
            restarts.add_metric([str(worker.number)], worker.restarts)
        yield restarts
        info = GaugeMetricFamily(
            PREFIX + "build_info",
            "Always 1; the labels name the versions.",
            labels=["version", "python", "implementation"],
        )
        info.add_metric([self._version, platform.python_version(), platform.python_implementation()], 1)
        yield info


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, help_, value=value)


def _counted(totals: dict[Name, list[float]]) -> Iterable[Metric]:
    """A metric for each name in series.GROUPS, even without samples."""
    families: dict[str, CounterMetricFamily | HistogramMetricFamily] = {}
    adders: dict[str, list[_Add]] = {}
    for group in GROUPS.values():
        adders[group.name] = [
            _adder(families, group.labels, series, at) for series, at in zip(group.series, group.offsets, strict=True)
        ]
    for (group_name, *labels), cells in sorted(totals.items()):
        for add in adders[group_name]:
            add(labels, cells)
    return families.values()


_Add = Callable[[list[str], list[float]], None]


def _adder(
    families: dict[str, CounterMetricFamily | HistogramMetricFamily], labels: tuple[str, ...], series: Series, at: int
) -> _Add:
    """A function that adds a group's cells from `at` on to the family of a series. Creates the family if needed."""
    names = [*labels, *series.fixed[:1]] if series.fixed else list(labels)
    fixed = list(series.fixed[1:]) if series.fixed else []
    if series.bounds:
        histogram = HistogramMetricFamily(series.name, series.help, labels=names)
        families[series.name] = histogram
        ends = [*map(str, series.bounds), "+Inf"]

        def add_histogram(values: list[str], cells: list[float]) -> None:
            total, counts = cells[at], cells[at + 1 : at + series.width]
            histogram.add_metric(values, list(zip(ends, accumulate(counts), strict=True)), total)

        return add_histogram
    counter = families.setdefault(series.name, CounterMetricFamily(series.name, series.help, labels=names))

    def add_counter(values: list[str], cells: list[float]) -> None:
        counter.samples.append(Sample(series.name, dict(zip(names, values + fixed, strict=True)), cells[at]))

    return add_counter


def _processes(workers: list[_Worker]) -> Iterable[Metric]:
    """prometheus-client's standard metrics of each worker's process; none on systems without /proc."""
    families: dict[str, Metric] = {}
    for worker in workers:
        for metric in ProcessCollector(pid=partial(str, worker.pid), registry=None).collect():
            label = {"worker": str(worker.number)}
            samples = [sample._replace(labels=label) for sample in metric.samples]
            families.setdefault(metric.name, _empty(metric)).samples.extend(samples)
    return families.values()


def _empty(metric: Metric) -> Metric:
    return Metric(metric.name, metric.documentation, metric.type)
