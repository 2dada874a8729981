"""docs/scaling.md is computed from the latest run, and its prose is so as well."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scaling
from ordersys.runtime.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PAGE = scaling.PAGE.read_text(encoding="utf-8")
SERVICES = ("product_service", "order_service", "notification_service_1", "notification_service_2")


@pytest.fixture(scope="module")
def latest() -> dict[str, Any]:
    """The latest result."""
    document: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "latest.json").read_text())
    return document


def run(**medians: float) -> dict[str, Any]:
    """A result with these figures; a dot of a name is written as two underscores."""
    return {"figures": {name.replace("__", "."): {"median": value} for name, value in medians.items()}}


def test_the_page_has_the_figures_of_the_latest_run(latest: dict[str, Any]) -> None:
    """Else `python -m benchmarks.scaling` brings it up to date."""
    assert scaling.written(PAGE, latest) == PAGE
    assert all(f"<!-- scaling: {name} -->" in PAGE for name in scaling.BLOCKS)


def test_a_load_needs_as_many_processes_as_keep_each_below_its_share_of_a_core() -> None:
    """At 600 µs an order a process takes a thousand a second; one order more needs another process."""
    document = run(processor__pipeline__64__product_service=600.0)
    for rate, needed in ((1, 1), (1_000, 1), (1_001, 2), (100_000, 100)):
        assert scaling.processes(document, "pipeline.64", "product_service", rate) == needed
    assert scaling.most(document, "pipeline.64", "product_service") == pytest.approx(1_000)


def test_a_stream_is_cut_before_a_part_is_as_fast_as_it_ever_was() -> None:
    """Planned for 60 % of it."""
    document = run(relay=10_000.0)
    for rate, needed in ((6_000, 1), (6_001, 2), (12_001, 3)):
        assert scaling.parts(document, "relay", rate) == needed


def test_processes_that_share_a_database_cost_more_once_there_are_several() -> None:
    """At 600 µs a process takes a thousand a second alone; with others beside it a tenth less."""
    document = run(
        **{f"processor__postgresql__one__{name}": 600.0 for name in SERVICES},
        processor__postgresql__one__postgresql=500.0,
        processor__postgresql__one=2_900.0,
        processor__replicas__1__services=2_000.0,
        processor__replicas__4__each__services=2_200.0,
        takeover__order_service__slowest=9.0,
        takeover__notification_service_1__slowest=12.0,
    )
    for rate, needed in ((1, 1), (1_000, 1), (1_001, 2), (10_000, 11)):
        assert scaling.shared_processes(document, "order_service", rate) == needed
    written = scaling.shared(document)
    assert "| busy cores of PostgreSQL | 500 | 0.5 | 5.0 | 50.0 |" in written
    assert "| connections to PostgreSQL | | 20 | 220 | 2,220 |" in written
    assert "| events that wait when a leader has died | | 12,000 | 120,000 | 1,200,000 |" in written
    assert scaling.shared(run()) == "Not measured in this run."


def test_words_of_the_page_are_so(latest: dict[str, Any]) -> None:
    """After another run they may have to be written anew."""
    words = " ".join(PAGE.split())
    cost = {way: sum(scaling.microseconds(latest, way, name) for name in SERVICES) for way in scaling._WAYS}
    assert "in batches cost less than half" in words
    assert cost["pipeline.64.batch16"] < 0.5 * cost["pipeline.64"]
    assert "at about a thousand orders a second in calls of their own" in words
    assert 850 < scaling.most(latest, "pipeline.64", "product_service") < 1_300
    assert "measured at about 1,300 orders a second" in words
    assert scaling.median(latest, "place_order.64") == pytest.approx(1_300, rel=0.1)
    assert "room for calls to take six times as long" in words
    flying = 10_000 * scaling.median(latest, "place_order.64.p50") / 1_000
    each = flying / scaling.processes(latest, "pipeline.64", "product_service", 10_000)
    assert 5 < Settings().max_concurrent_calls / each < 8
    assert "about a hundred processes of the Product Service, a dozen partitions" in words
    assert scaling.processes(latest, "pipeline.64", "product_service", 100_000) == pytest.approx(100, rel=0.2)
    assert scaling.parts(latest, "consumer", 100_000) == pytest.approx(12, rel=0.2)
    for figure in ("relay", "consumer"):  # "beyond what is planned for one of them, though below what was measured"
        assert scaling.parts(latest, figure, 10_000) == 2
        assert scaling.median(latest, figure) > 10_000
