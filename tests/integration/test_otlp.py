"""Metrics over OTLP: a collector hears what Prometheus reads, under names of which it can make those of the table."""

import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)
from prometheus_client.parser import text_string_to_metric_families

from ordersys.local import ports
from ordersys.runtime.metrics import table
from ordersys.runtime.metrics.table import Kind, Service
from tests.collector import Collector, Export, collecting
from tests.integration.api import SECONDS, eventually
from tests.integration.order_service import order_service

ORDERS = 20
ASKED = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
# Different each time they are looked at, and with no broker the outbox is never empty.
RESTLESS = ("process_", table.OUTBOX_OLDEST_SECONDS.name)
Series = tuple[str, frozenset[tuple[str, str]]]
ENDINGS = {"s": "_seconds", "By": "_bytes"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector that answers."""
    with collecting() as collector:
        yield collector


def scraped(address: str) -> dict[Series, float]:
    """The series of a process as Prometheus reads them, without empty labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return dict(_series(s.name, s.labels, s.value) for family in families for s in family.samples)


def written(export: Export) -> dict[Series, float]:
    """An export as a collector writes it for Prometheus."""
    return dict(each for metric in export.metrics for each in _written(metric))


def _written(metric: Metric) -> Iterator[tuple[Series, float]]:
    name = metric.name.replace(".", "_") + ENDINGS.get(metric.unit, "")
    for number in (*metric.gauge.data_points, *metric.sum.data_points):
        ending = "_total" if metric.HasField("sum") else ""
        yield _series(name + ending, _labels(number), number.as_double)
    for point in metric.histogram.data_points:
        below = 0
        for bound, count in zip((*point.explicit_bounds, float("inf")), point.bucket_counts, strict=True):
            below += count
            le = "+Inf" if bound == float("inf") else repr(bound)
            yield _series(f"{name}_bucket", {**_labels(point), "le": le}, below)
        yield _series(f"{name}_count", _labels(point), point.count)
        yield _series(f"{name}_sum", _labels(point), point.sum)


def _labels(point: HistogramDataPoint | NumberDataPoint) -> dict[str, str]:
    return {each.key.replace(".", "_"): each.value.string_value for each in point.attributes}


def _series(name: str, labels: Mapping[str, str], value: float) -> tuple[Series, float]:
    return (name, frozenset((key, text) for key, text in labels.items() if text)), value


def restful(seen: Mapping[Series, float]) -> dict[Series, float]:
    """Those that stay as they are while nothing is done."""
    return {series: value for series, value in seen.items() if not series[0].startswith(RESTLESS)}


def test_a_collector_hears_what_prometheus_reads(collector: Collector, tmp_path: Path) -> None:
    """Each series with its labels and its number, of a service that has done something."""
    address = f"127.0.0.1:{ports.free(1)[0]}"
    settings = {**ASKED, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "ORDERSYS_METRICS_ADDRESS": address}
    with order_service(tmp_path / "data", **settings) as service:
        for _ in range(ORDERS):
            service.create()

        def differences() -> set[tuple[Series, float]]:
            heard, read = written(collector.exports[-1]), scraped(address)
            return restful(heard).items() ^ restful(read).items() or {(each, 0) for each in heard.keys() ^ read.keys()}

        eventually(lambda: collector.exports)
        until = time.monotonic() + SECONDS
        while (different := sorted({series[0] for series, _ in differences()})) and time.monotonic() < until:
            time.sleep(0.1)
        assert different == []
        asked = ("rpc_server_call_duration_seconds_count", "ordersys.api.order.v1.OrderService/CreateOrder")
        (calls,) = (n for (name, labels), n in scraped(address).items() if name == asked[0] and asked[1] in str(labels))
        assert calls == ORDERS


def test_each_metric_has_the_kind_the_unit_and_the_name_of_the_conventions(
    collector: Collector, tmp_path: Path
) -> None:
    """Cumulative; no ending that a collector would write a second time; bounds as they are declared."""
    with order_service(tmp_path / "data", **ASKED, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) as service:
        service.create()
        assert service.stop() == 0
    metrics = {metric.name: metric for metric in collector.exports[-1].metrics}
    duration = metrics["rpc.server.call.duration"]
    (point, *_) = duration.histogram.data_points
    assert (duration.unit, tuple(point.explicit_bounds)) == ("s", table.SERVER_CALL_SECONDS.buckets)
    assert {each.key for each in point.attributes} == {"rpc.method", "rpc.status_code"}
    assert metrics["messaging.client.sent.messages"].unit == "{messages}"
    assert metrics["ordersys.serving"].unit == ""
    declared = {m.name: m for m in table.TABLE if Service.ORDER in m.services}
    heard = {_name(metric): metric for metric in metrics.values()}
    assert declared.keys() == heard.keys()
    for name, metric in heard.items():
        kind = {"sum": Kind.COUNTER, "gauge": Kind.GAUGE, "histogram": Kind.HISTOGRAM}[str(metric.WhichOneof("data"))]
        assert (kind, metric.description) == (declared[name].kind, declared[name].meaning)
        if kind is not Kind.GAUGE:
            data = metric.sum if kind is Kind.COUNTER else metric.histogram
            assert data.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        assert kind is not Kind.COUNTER or metric.sum.is_monotonic


def _name(metric: Metric) -> str:
    ending = "_total" if metric.HasField("sum") else ""
    return metric.name.replace(".", "_") + ENDINGS.get(metric.unit, "") + ending


def test_the_last_is_heard_and_says_whose_it_is(collector: Collector, tmp_path: Path) -> None:
    """Without waiting for the interval, which is a minute; two processes of a service are told apart."""
    settings = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{collector.endpoint}/v1/metrics"}
    before = len(collector.exports)
    for attributes in ("", "service.name=of-theirs"):
        with order_service(tmp_path / "data", **settings, OTEL_RESOURCE_ATTRIBUTES=attributes) as service:
            service.create()
            assert service.stop() == 0
    mine, theirs = collector.exports[before:]
    assert (mine.resource["service.name"], theirs.resource["service.name"]) == ("order-service", "of-theirs")
    assert mine.resource["service.instance.id"] != theirs.resource["service.instance.id"]
    created = [n for (name, _), n in written(mine).items() if name == "ordersys_commit_duration_seconds_count"]
    assert sum(created) >= 1
