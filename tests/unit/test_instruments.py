"""Instruments: nothing while metrics are off; what was counted, where they are on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.parser import text_string_to_metric_families

from ordersys.runtime.metrics import instruments
from ordersys.runtime.metrics.instruments import OFF, Binder, Children, Stopwatch
from ordersys.runtime.metrics.prometheus import Prometheus
from ordersys.runtime.metrics.table import (
    BATCH_ITEMS,
    BUILD_INFO,
    CALLS_IN_FLIGHT,
    COMMIT_SECONDS,
    DATABASE_WRITABLE,
    DEAD_LETTERS,
    SPANS_DROPPED,
)

LOOK = """
import sys, {module}
assert not [name for name in sys.modules if name.startswith(("prometheus_client", "http.server"))]
"""
SWITCH_ON = """
from ordersys.runtime.metrics import instruments, table
instruments.switch_on("test-service")
instruments.counter(table.SPANS_DROPPED).inc()
"""


@pytest.fixture
def binder() -> Iterator[Binder]:
    """Metrics are on."""
    yield instruments.switch_on("test-service")
    instruments.switch_off()


def shown(binder: Binder) -> dict[tuple[str, str], float]:
    """The samples by name and by the values of their labels."""
    _, text = binder.exposed("")
    families = text_string_to_metric_families(text.decode())
    return {(s.name, ",".join(s.labels.values())): s.value for family in families for s in family.samples}


@pytest.mark.parametrize("module", ["order_service", "product_service", "notification_service_1"])
def test_who_wants_no_metrics_does_not_load_the_library(module: str) -> None:
    """It takes a megabyte and 80 ms; a server of HTTP another one."""
    code = LOOK.format(module=f"ordersys.{module}.__main__")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_series_are_kept_in_memory_whatever_the_environment_says(tmp_path: Path) -> None:
    """The library has a variable for processes that share a folder, which would be filled with files."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SWITCH_ON], env=environment, check=True)
    assert [*tmp_path.iterdir()] == []


def test_an_instrument_does_nothing_while_metrics_are_off() -> None:
    """It is one and the same for all; a gauge that is read is never read."""
    assert not instruments.are_on()
    assert instruments.counter(SPANS_DROPPED) is OFF
    assert instruments.histogram(COMMIT_SECONDS) is OFF
    instruments.gauge(DATABASE_WRITABLE).set(1)
    instruments.reading(CALLS_IN_FLIGHT, lambda: 1 / 0)


def test_an_instrument_that_was_bound_before_goes_on_doing_nothing(binder: Binder) -> None:
    """And one that was bound while they were on does no harm afterwards."""
    counter = instruments.counter(SPANS_DROPPED)
    instruments.switch_off()
    counter.inc()
    assert instruments.counter(SPANS_DROPPED) is OFF


def test_each_kind_shows_what_was_counted(binder: Binder) -> None:
    """Names and labels are those of the table."""
    instruments.counter(DEAD_LETTERS, reason="rejected").inc()
    instruments.counter(DEAD_LETTERS, reason="rejected").inc(2)
    instruments.gauge(DATABASE_WRITABLE).set(True)
    instruments.histogram(BATCH_ITEMS, batch="window").observe(3)
    seen = shown(binder)
    assert seen["ordersys_dead_letters_total", "rejected"] == 3
    assert seen["ordersys_database_writable", ""] == 1
    assert seen["ordersys_batch_items_sum", "window"] == 3
    assert seen["ordersys_batch_items_bucket", "window,2.0"] == 0
    assert seen["ordersys_batch_items_bucket", "window,4.0"] == 1


def test_a_gauge_that_is_read_shows_the_sum_of_all_who_read_it(binder: Binder) -> None:
    """Now, and not when it was bound: as two servers of a process have calls under way."""
    calls = [1, 2]
    for number in (0, 1):
        instruments.reading(CALLS_IN_FLIGHT, lambda number=number: calls[number])  # type: ignore[misc]
    calls[1] = 5
    assert shown(binder)["ordersys_calls_in_flight", ""] == 6


def test_who_the_process_is_stands_in_a_metric_of_its_own(binder: Binder) -> None:
    """With its release; what is asked for in OpenMetrics ends as that has to."""
    (labels,) = [labels for name, labels in shown(binder) if name == BUILD_INFO.name]
    assert "test-service" in labels
    content_type, text = binder.exposed("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert b"_created" not in text


@pytest.mark.parametrize("labels", [{}, {"reason": "rejected", "more": "x"}, {"cause": "rejected"}, {"reason": "odd"}])
def test_a_series_that_is_not_declared_can_not_be_bound(binder: Binder, labels: dict[str, str]) -> None:
    """Neither another label nor another value: so what a process exposes stays bounded."""
    with pytest.raises(ValueError, match="ordersys_dead_letters_total"):
        instruments.counter(DEAD_LETTERS, **labels)


def test_children_are_bound_once(binder: Binder) -> None:
    """Those that were named at once, so that they are shown with 0; others when they are asked for."""
    children = Children(lambda reason: instruments.counter(DEAD_LETTERS, reason=reason), ["expired"])
    assert shown(binder)["ordersys_dead_letters_total", "expired"] == 0
    assert children["maxlen"] is children["maxlen"]
    children["maxlen"].inc()
    assert shown(binder)["ordersys_dead_letters_total", "maxlen"] == 1


def test_what_fails_is_not_timed(binder: Binder) -> None:
    """A failed commit says nothing about how long commits take."""
    watch = Stopwatch(instruments.histogram(COMMIT_SECONDS))
    with watch:
        pass
    with pytest.raises(KeyError), watch:
        raise KeyError
    assert shown(binder)["ordersys_commit_duration_seconds_count", ""] == 1


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
@given(st.lists(st.floats(0, 20) | st.sampled_from(COMMIT_SECONDS.buckets)))
def test_a_histogram_shows_what_that_of_the_library_would(accept: str, observed: list[float]) -> None:
    """To the byte: bounds belong to their bucket, and there is an infinite one."""
    ours = Prometheus("test-service")
    theirs = CollectorRegistry()
    name, meaning = COMMIT_SECONDS.name, COMMIT_SECONDS.meaning.replace("`", "")
    library = prometheus_client.Histogram(name, meaning, registry=theirs, buckets=COMMIT_SECONDS.buckets)
    series = ours.histogram(COMMIT_SECONDS, {})
    for amount in observed:
        series.observe(amount)
        library.observe(amount)
    _, text = ours.exposed(accept)
    encode, _ = exposition.choose_encoder(accept)
    lines = encode(theirs).removesuffix(b"# EOF\n")
    assert lines
    assert lines in text


def test_a_histogram_loses_nothing_that_several_threads_observe(binder: Binder) -> None:
    """A PostgreSQL has several writers, each in a thread of its own."""
    seconds = instruments.histogram(COMMIT_SECONDS)
    with ThreadPoolExecutor(4) as threads:
        [*threads.map(seconds.observe, [1.0] * 40_000)]
    seen = shown(binder)
    assert seen["ordersys_commit_duration_seconds_count", ""] == 40_000
    assert seen["ordersys_commit_duration_seconds_sum", ""] == 40_000
