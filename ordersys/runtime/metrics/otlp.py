"""Metrics on their way to a collector of OpenTelemetry: read where Prometheus reads them, whenever they are sent.

So nothing is counted a second time. Of the SDK only its values and its exporter over OTLP are used; the variables for
endpoint, headers, certificates and timeout are read by it. What is sent is cumulative, from the start of the process.

Names are those of the table without the endings `_total`, `_seconds` and `_bytes`, with dots: a collector that writes
them for Prometheus gives each the name it has in the table.
"""

import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from threading import TIMEOUT_MAX, Event, Thread
from uuid import uuid4

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ordersys.runtime.base import collectors
from ordersys.runtime.metrics import table
from ordersys.runtime.metrics.instruments import Binder, Sample
from ordersys.runtime.metrics.table import Kind

_log = logging.getLogger(__name__)
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
_INTERVAL_SECONDS = 60.0
_FLUSH_SECONDS = 0.5  # for the last ones, when the process ends: a collector that is away keeps nobody
_CUMULATIVE = AggregationTemporality.CUMULATIVE
_UNITS = {"seconds": ("s", "_seconds"), "bytes": ("By", "_bytes"), "1": ("", ""), "1 or 0": ("", "")}
# Of the conventions, whose names they have in Prometheus with each dot an underscore; the others are ours.
_ATTRIBUTES = {
    name.replace(".", "_"): name
    for name in (
        "error.type",
        "messaging.destination.name",
        "messaging.operation.name",
        "rpc.method",
        "rpc.status_code",
    )
}
Labels = tuple[tuple[str, str], ...]


class Exporting:
    """Sends what `binder` shows to a collector, in a thread of its own: at each interval, and at the end."""

    def __init__(self, service: str, binder: Binder) -> None:
        # Told once, in a sentence, by `_send`: the exporter would log each try.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._binder = binder
        self._exporter = OTLPMetricExporter(session=collectors.session("METRICS"))
        # Two processes of a service would otherwise write the same series.
        own = Resource.create({"service.name": service, "service.instance.id": str(uuid4())})
        self._resource = own.merge(OTELResourceDetector().detect())
        self._began = time.time_ns()
        self._lost = False
        self._ended = Event()
        self._thread = Thread(target=self._run, name="metrics export", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sends once more, for half a second at most."""
        self._ended.set()
        self._thread.join(_FLUSH_SECONDS)
        self._exporter.shutdown()

    def _run(self) -> None:
        seconds = _interval_seconds()
        while not self._ended.wait(seconds):
            self._send()
        self._send()

    def _send(self) -> None:
        """Sends all as it is now, and says once when that fails, and when it works again."""
        try:
            scope = ScopeMetrics(InstrumentationScope("ordersys"), self._metrics(), "")
            sent = self._exporter.export(MetricsData([ResourceMetrics(self._resource, [scope], "")]))
        except Exception:  # noqa: BLE001 - logged; the next interval tries again
            _log.debug("an export of metrics failed", exc_info=True)
            sent = MetricExportResult.FAILURE
        lost, self._lost = self._lost, sent is not MetricExportResult.SUCCESS
        if self._lost and not lost:
            _log.warning("metrics can't be exported; does the collector answer?")
        elif lost and not self._lost:
            _log.info("metrics are exported again")

    def _metrics(self) -> list[Metric]:
        now = time.time_ns()
        return [_metric(declared, samples, self._began, now) for declared, samples in self._binder.collected()]


def _metric(declared: table.Metric, samples: Sequence[Sample], began: int, now: int) -> Metric:
    unit, ending = _UNITS.get(declared.unit, (f"{{{declared.unit}}}", ""))
    name = declared.name.removesuffix("_total").removesuffix(ending).replace("_", ".")
    if declared.kind is Kind.HISTOGRAM:
        data: Gauge | Histogram | Sum = Histogram(list(_distributions(samples, began, now)), _CUMULATIVE)
    else:
        # Not a number is what is not known.
        known = [sample for sample in samples if not math.isnan(sample.value)]
        points = [NumberDataPoint(_attributes(sample.labels), began, now, sample.value) for sample in known]
        data = Sum(points, _CUMULATIVE, is_monotonic=True) if declared.kind is Kind.COUNTER else Gauge(points)
    return Metric(name, declared.meaning, unit, data)


def _distributions(samples: Iterable[Sample], began: int, now: int) -> Iterator[HistogramDataPoint]:
    """A point for each series: its samples come one after the other, the buckets in their order and with all below."""
    by_series: dict[Labels, dict[str, float]] = {}
    for sample in samples:
        series = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        by_series.setdefault(series, {})[sample.labels.get("le", sample.name.rpartition("_")[2])] = sample.value
    for series, values in by_series.items():
        count, total = int(values.pop("count")), values.pop("sum")
        below = [0, *map(int, values.values())]
        counts = [most - less for less, most in pairwise(below)]
        bounds = [float(bound) for bound in values][:-1]
        least: float = None  # type: ignore[assignment] # not known, as OTLP has it
        yield HistogramDataPoint(_attributes(dict(series)), began, now, count, total, counts, bounds, least, least)


def _attributes(labels: Mapping[str, str]) -> dict[str, str]:
    """An empty label is one that is absent."""
    return {_ATTRIBUTES.get(name, name): value for name, value in labels.items() if value}


def _interval_seconds() -> float:
    try:
        milliseconds = float(os.environ.get(_INTERVAL) or _INTERVAL_SECONDS * 1000)
    except ValueError:
        milliseconds = 0
    if 0 < milliseconds / 1000 <= TIMEOUT_MAX:
        return milliseconds / 1000
    _log.warning(
        "%s is no number of milliseconds that can be waited; metrics are exported every %d s",
        _INTERVAL,
        _INTERVAL_SECONDS,
    )
    return _INTERVAL_SECONDS
