"""Series of the table as Prometheus's client library keeps and writes them. Imported only where metrics are on."""

import platform
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from threading import Lock
from typing import TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ordersys.runtime.metrics.instruments import Counter, Gauge, Histogram, Read, Sample
from ordersys.runtime.metrics.table import BUILD_INFO, TABLE, Kind, Metric

M = TypeVar("M", prometheus_client.Counter, prometheus_client.Gauge)


class Prometheus:
    """A registry with the metrics of this process, each from the first time one of its series is bound."""

    def __init__(self, service: str) -> None:
        # When each series began is of no use to Prometheus, and doubles what it reads.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._counters: dict[Metric, prometheus_client.Counter] = {}
        self._gauges: dict[Metric, prometheus_client.Gauge] = {}
        self._histograms: dict[Metric, _Histograms] = {}
        self._reads: dict[tuple[Metric, tuple[str, ...]], list[Read]] = {}
        ProcessCollector(registry=self._registry)
        labels = {"service": service, "version": _version(), "python_version": platform.python_version()}
        self.gauge(BUILD_INFO, labels).set(1)

    def counter(self, metric: Metric, labels: dict[str, str]) -> Counter:
        """The counter with these labels, in the order of the table."""
        if metric not in self._counters:
            self._counters[metric] = prometheus_client.Counter(*_declaration(metric), registry=self._registry)
        return _child(self._counters[metric], labels)

    def gauge(self, metric: Metric, labels: dict[str, str]) -> Gauge:
        """The gauge with these labels."""
        return self._gauge(metric, labels)

    def histogram(self, metric: Metric, labels: dict[str, str]) -> Histogram:
        """The histogram with these labels."""
        if metric not in self._histograms:
            self._histograms[metric] = _Histograms(metric)
            self._registry.register(self._histograms[metric])
        return self._histograms[metric].bound(tuple(labels.values()))

    def reading(self, metric: Metric, labels: dict[str, str], read: Read) -> None:
        """Adds `read` to what the gauge with these labels shows, in the thread of whoever looks."""
        reads = self._reads.setdefault((metric, tuple(labels.values())), [])
        reads.append(read)
        self._gauge(metric, labels).set_function(lambda: float(sum(each() for each in reads)))

    def exposed(self, accept: str) -> tuple[str, bytes]:
        """The content type and the text, in the format of an `Accept` header."""
        encode, content_type = exposition.choose_encoder(accept)
        return content_type, encode(self._registry)

    def collected(self) -> Iterator[tuple[Metric, Sequence[Sample]]]:
        """Each metric with its samples as they are now. May be asked by any thread."""
        for family in self._registry.collect():
            yield _DECLARED[family.name], family.samples

    def _gauge(self, metric: Metric, labels: dict[str, str]) -> prometheus_client.Gauge:
        if metric not in self._gauges:
            self._gauges[metric] = prometheus_client.Gauge(*_declaration(metric), registry=self._registry)
        return _child(self._gauges[metric], labels)


# The library takes the ending off a counter's name.
_DECLARED = {m.name.removesuffix("_total") if m.kind is Kind.COUNTER else m.name: m for m in TABLE}


class _Histogram:
    """A series of observations, with a lock and a search for each.

    The library's own takes two locks, and looks at one bucket after the other: 5 µs instead of 2 in a busy service
    (docs/performance.md, "What metrics and traces cost").
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def observe(self, amount: float) -> None:
        """Counts an observation in the first bucket whose bound it does not exceed."""
        place = bisect_left(self._bounds, amount)
        with self._lock:
            self._counts[place] += 1
            self._sum += amount

    def seen(self) -> tuple[list[int], float]:
        """The observations up to each bound, the last of which is infinite, and their sum."""
        with self._lock:
            counts, total = [*self._counts], self._sum
        return [*accumulate(counts)], total


class _Histograms(Collector):
    """The series of a histogram, by the values of their labels."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
        self._series: dict[tuple[str, ...], _Histogram] = {}

    def bound(self, labels: tuple[str, ...]) -> _Histogram:
        """The series with these labels."""
        return self._series.setdefault(labels, _Histogram(self._metric.buckets))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """All of them, as the library writes them, in the thread of whoever looks."""
        name, meaning, labels = _declaration(self._metric)
        family = HistogramMetricFamily(name, meaning, labels=labels)
        for values, series in list(self._series.items()):
            counts, total = series.seen()
            family.add_metric(values, [*zip(self._bounds, counts, strict=True)], total)
        yield family


def _version() -> str:
    """The release; that of a source tree that was not installed is not known."""
    try:
        return version("ordersys")
    except PackageNotFoundError:
        return "unknown"


def _declaration(metric: Metric) -> tuple[str, str, list[str]]:
    return metric.name, metric.meaning.replace("`", ""), [label.name for label in metric.labels]


def _child(parent: M, labels: dict[str, str]) -> M:
    return parent.labels(*labels.values()) if labels else parent
