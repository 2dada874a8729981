"""The table of metrics keeps the conventions of Prometheus, and the page says what it says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordersys.runtime.metrics import table
from ordersys.runtime.metrics.table import TABLE, Kind, Label, Metric, Service
from tools.documents import metrics

ROOT = Path(__file__).parent.parent.parent
UNITS = {"seconds": "_seconds", "bytes": "_bytes"}
# Prometheus: Metric and label naming; milliseconds, kilobytes and the like are no base units.
NO_BASE_UNITS = re.compile(r"_(ms|millis\w*|micros\w*|minutes|hours|kb|mb|kilobytes|megabytes|percent)(_|$)")
OF_PEOPLE = re.compile(r"(^|_)(order|customer|product|request|user|event_id|trace|saga|id)(_|$)")
MOST_VALUES = 16
INSTRUMENTS = frozenset({"counter", "gauge", "histogram", "reading"})
every_metric = pytest.mark.parametrize("metric", TABLE, ids=[metric.name for metric in TABLE])
COUNTERS = [metric for metric in table.DECLARED if metric.kind is Kind.COUNTER]
LABELS = [pytest.param(metric, label, id=f"{metric.name}-{label.name}") for metric in TABLE for label in metric.labels]


def test_no_name_is_declared_twice() -> None:
    """Also none that a histogram or a counter adds to its own."""
    series = [metric.name for metric in TABLE]
    series += [f"{m.name}{end}" for m in TABLE if m.kind is Kind.HISTOGRAM for end in ("_bucket", "_sum", "_count")]
    assert len(set(series)) == len(series)


def test_the_table_has_every_metric_of_the_module() -> None:
    """Those that code names, and no other."""
    named = {value for value in vars(table).values() if isinstance(value, Metric)}
    assert named == set(table.DECLARED)


def test_code_binds_each_metric_that_is_declared() -> None:
    """One that is only declared has no series: a panel of it stays empty, and an alert on it never fires."""
    root = Path(table.__file__).parents[2]
    modules = [path for path in root.rglob("*.py") if not path.is_relative_to(root / "api")]
    bound = {name for path in modules for name in bound_in(ast.parse(path.read_text(encoding="utf-8")))}
    assert bound == {name for name, value in vars(table).items() if isinstance(value, Metric)}


def bound_in(module: ast.Module) -> Iterator[str]:
    """The metrics of the table, by the names of their constants, that a module makes instruments of."""
    imports = [n for n in ast.walk(module) if isinstance(n, ast.ImportFrom) and n.module == table.__name__]
    constants = {alias.asname or alias.name: alias.name for node in imports for alias in node.names}
    for call in (node for node in ast.walk(module) if isinstance(node, ast.Call) and node.args):
        made = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        metric = getattr(call.args[0], "id", "")
        if made in INSTRUMENTS and metric in constants:
            yield constants[metric]


@pytest.mark.parametrize("metric", COUNTERS, ids=[metric.name for metric in COUNTERS])
def test_a_counter_has_a_mutant_that_counts_it_wrongly(metric: Metric) -> None:
    """Its diff names the metric; a gauge shows what there is, and goes wrong in fewer ways."""
    mutants = [path.read_text(encoding="utf-8") for path in (ROOT / "tests/mutants/catalogue/metrics").glob("*.diff")]
    (constant,) = (name for name, value in vars(table).items() if value is metric)
    assert any(re.search(rf"\b({metric.name}|{constant})\b", mutant) for mutant in mutants)


@every_metric
def test_a_name_is_as_prometheus_wants_it(metric: Metric) -> None:
    """Lower case with underscores, base units, and `_total` where it counts upward and only there."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", metric.name)
    assert not NO_BASE_UNITS.search(metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    if metric.unit in UNITS:
        assert metric.name.removesuffix("_total").endswith(UNITS[metric.unit])
    assert not metric.name.endswith(("_bucket", "_sum", "_count", "_created"))


@every_metric
def test_buckets_rise_and_only_a_histogram_has_some(metric: Metric) -> None:
    """Few enough that all series of a process are read in milliseconds."""
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert len(metric.buckets) <= MOST_VALUES


@every_metric
def test_a_metric_says_what_it_means_and_who_has_it(metric: Metric) -> None:
    """In sentences; who adds one has to say so, too."""
    assert metric.meaning.endswith(".")
    assert metric.services
    assert set(metric.services) <= set(Service)
    assert "|" not in metric.meaning + metric.moved_by


@pytest.mark.parametrize(("metric", "label"), LABELS)
def test_a_label_is_bounded(metric: Metric, label: Label) -> None:
    """Its values stand in the table or come from the contract; no order, customer, product or request is one."""
    assert bool(label.values) != (label.source is not None)
    assert len(label.values) <= MOST_VALUES
    assert len(set(label.values)) == len(label.values)
    assert not OF_PEOPLE.search(label.name), metric.name


def test_the_page_names_every_metric_and_label() -> None:
    """Each metric once in a table, with its kind and its meaning."""
    page = metrics.page()
    for metric in table.DECLARED:
        assert page.count(f"| `{metric.name}` | {metric.kind.value} | {metric.unit} |") == 1
        assert f"| {metric.meaning} |" in page
        for label in metric.labels:
            assert f"`{label.name}`" in page


def test_the_client_library_is_loaded_only_by_who_wants_metrics() -> None:
    """One module names it, and one names that module: where metrics are switched on."""
    root = Path(table.__file__).parents[2]
    sources = {path.relative_to(root): path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    ours = {
        path.name for path, source in sources.items() if re.search(r"^\s*(from|import) prometheus_client", source, re.M)
    }
    others = {path.name for path, source in sources.items() if "ordersys.runtime.metrics.prometheus import" in source}
    assert (ours, others) == ({"prometheus.py"}, {"instruments.py"})
