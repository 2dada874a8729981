"""The dashboard and the alerts are made of the table of metrics, all of it, and Prometheus takes them."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from ordersys.runtime.metrics.table import TABLE, Kind, Metric
from tests.prometheus import programs_or_skip
from tests.unit.test_links import anchors
from tools.observability import promql, rules
from tools.observability.__main__ import DASHBOARD, FOLDER, RULES, TESTS, texts
from tools.observability.alerts import ALERTS, JOB, RATE_INTERVAL, Alert, Severity
from tools.observability.dashboard import COLUMNS, SCHEMA_VERSION
from tools.observability.panels import ROWS, UNSHOWN

ROOT = Path(__file__).parent.parent.parent
TEXTS = texts()
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in TABLE}
BOARD = json.loads(TEXTS[DASHBOARD])
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
every_alert = pytest.mark.parametrize("alert", ALERTS, ids=[alert.name for alert in ALERTS])
SCRAPES = sorted(path.name for path in (ROOT / FOLDER).glob("prometheus-*.yaml"))
OF_SCRAPING = frozenset({"job", "namespace", "service", "instance", "pod"})
"""The labels that Prometheus gives, not the process."""
UNITS = frozenset({"s", "short", "bytes", "percentunit", "cps", "eps", "mps", "reqps"})
"""The identifiers Grafana has for the units that are used."""


def selectors(expression: str) -> Iterator[tuple[str, str]]:
    """The names and matchers of the series in an expression."""
    yield from re.findall(r"([a-z_]+)\{([^}]*)\}", expression)


def metric(name: str) -> str:
    """The name in the table of a series, which of a histogram has a part of it behind."""
    base = re.sub(r"_(bucket|count|sum)$", "", name)
    return base if base in METRICS and METRICS[base].kind is Kind.HISTOGRAM else name


def expressions() -> list[str]:
    """All that are asked of Prometheus: of panels, and of alerts."""
    of_panels = [query.expression for panels in ROWS.values() for panel in panels for query in panel.queries]
    return [*of_panels, *(alert.expression for alert in ALERTS)]


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_a_file_is_current(path: Path) -> None:
    """The committed file is what the tables say."""
    text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
    assert text == TEXTS[path], f"{path} is not current: run `nox -s codegen` and commit it"


def test_every_metric_is_shown_or_declared_as_unshown() -> None:
    """On a panel."""
    shown = {metric(name) for panel in PANELS for query in panel["targets"] for name, _ in selectors(query["expr"])}
    assert shown - {"up"} == METRICS.keys() - UNSHOWN
    assert METRICS.keys() >= UNSHOWN


def labels(name: str) -> set[str]:
    """The labels that the process gives a series."""
    return set() if name == "up" else {label.name for label in METRICS[metric(name)].labels}


def test_expressions_are_about_metrics_of_the_table_and_their_labels() -> None:
    """A name that is misspelt has no series, and an alert about it never fires."""
    for expression in expressions():
        series = list(selectors(expression))
        assert {metric(name) for name, _ in series} <= {*METRICS, "up"}, expression
        for name, matchers in series:
            assert set(re.findall(r"(\w+)(?:=|!=|=~)\"", matchers)) <= {*labels(name), "job"}, expression
        known = {*OF_SCRAPING, "le", *(label for name, _ in series for label in labels(name))}
        grouped = re.findall(r"(?:by|without) \(([^)]*)\)", expression)
        assert {label for group in grouped for label in group.split(", ")} <= known, expression


def test_expressions_take_the_rate_of_what_only_grows_and_of_nothing_else() -> None:
    """A counter falls to 0 with each restart; the rate of a gauge says nothing."""
    for expression in expressions():
        for name, _ in selectors(expression):
            grows = name != "up" and METRICS[metric(name)].kind in (Kind.COUNTER, Kind.HISTOGRAM)
            assert bool(re.search(rf"rate\({name}\{{[^}}]*\}}\[", expression)) == grows, expression


def test_panels_have_what_a_reader_needs() -> None:
    """A title of its own, a description, a unit, and names for its lines."""
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert all(query["legendFormat"] for query in panel["targets"])
        assert len({query["refId"] for query in panel["targets"]}) == len(panel["targets"])


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """Its data source and its job are chosen by whoever looks, and rates fit every interval of scraping."""
    assert BOARD["schemaVersion"] == SCHEMA_VERSION
    assert {variable["name"] for variable in BOARD["templating"]["list"]} == {"datasource", "job"}
    for panel in PANELS:
        assert {query["datasource"]["uid"] for query in [panel, *panel["targets"]]} == {"${datasource}"}
        for query in panel["targets"]:
            assert all(f'job="{promql.JOB}"' in matchers for _, matchers in selectors(query["expr"]))
            assert set(re.findall(r"\[([^]]*)\]", query["expr"])) <= {promql.RATE_INTERVAL}


def test_no_panel_covers_another() -> None:
    """Each has its id and its place."""
    identifiers = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    assert not [pair for pair in combinations(places, 2) if overlap(*pair)]


def overlap(left: Mapping[str, int], right: Mapping[str, int]) -> bool:
    """True where two places have a part in common."""
    return all(
        left[start] < right[start] + right[size] and right[start] < left[start] + left[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_each_alert_has_a_name_a_severity_and_a_section_of_the_page() -> None:
    """And no section is left of an alert that is gone."""
    names = [alert.name for alert in ALERTS]
    assert len(set(names)) == len(names)
    page, _, _ = rules.RUNBOOKS.partition("#")
    sections = {anchor for anchor in anchors(ROOT / page) if anchor.startswith("ordersys")}
    assert sections == {rules.runbook(alert).partition("#")[2] for alert in ALERTS}
    assert {alert.severity for alert in ALERTS} == set(Severity)


@every_alert
def test_the_section_of_an_alert_says_what_it_means_where_to_look_and_what_to_do(alert: Alert) -> None:
    """In this order, each in some words at least."""
    page, _, _ = rules.RUNBOOKS.partition("#")
    text = (ROOT / page).read_text(encoding="utf-8")
    section = re.split(r"^#+ ", text.partition(f"\n### {alert.name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    parts = re.split(r"^- \*(\w+)\*:", section, flags=re.MULTILINE)[1:]
    assert parts[::2] == ["Meaning", "Look", "Do"]
    assert [part for part in parts[1::2] if len(part.split()) < 3] == []


@every_alert
def test_a_metric_that_an_alert_is_about_says_which_trouble_moves_it(alert: Alert) -> None:
    """It is looked for when that trouble is planted (tests/integration/test_metrics.py)."""
    about = {metric(name) for name, _ in selectors(alert.expression)} - {"up"}
    assert [name for name in about if not METRICS[name].moved_by] == []


@every_alert
def test_the_text_of_an_alert_names_labels_that_it_has(alert: Alert) -> None:
    """And no variable is left in its expression."""
    named = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
    assert named <= alert.fires.labels.keys()
    assert not alert.is_silent.labels
    assert alert.description.endswith(".")
    assert "$" not in alert.expression
    assert f'job="{JOB}"' in alert.expression


def promtool(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Promtool, run in a folder. Skips the test where there is none."""
    command = [str(programs_or_skip().promtool), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_prometheus_takes_the_rules() -> None:
    """As they stand in the repository."""
    done = promtool("check", "rules", RULES.name, folder=ROOT / FOLDER)
    assert (done.returncode, f"{len(ALERTS)} rules found" in done.stdout) == (0, True), done.stderr


def test_each_alert_fires_in_trouble_and_is_silent_without() -> None:
    """With its text."""
    done = promtool("test", "rules", TESTS.name, folder=ROOT / FOLDER)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("limit", ["!= +Inf", "> +Inf"], ids=["always", "never"])
def test_the_cases_of_an_alert_notice_where_it_fires_always_or_never(tmp_path: Path, limit: str) -> None:
    """Each alert's own."""
    broken = [alert._replace(limit=limit) for alert in ALERTS]
    (tmp_path / RULES.name).write_text(rules.rules(broken), encoding="utf-8")
    cases = {alert.name: rules.tests([alert], RULES.name) for alert in ALERTS}
    for name, text in cases.items():
        (tmp_path / TESTS.name).write_text(text, encoding="utf-8")
        assert promtool("test", "rules", TESTS.name, folder=tmp_path).returncode != 0, name


@pytest.mark.parametrize("name", SCRAPES)
def test_prometheus_takes_the_configurations(tmp_path: Path, name: str) -> None:
    """Debian leaves the discovery of Kubernetes out of its Prometheus: there the rest is checked."""
    text = (ROOT / FOLDER / name).read_text(encoding="utf-8")
    (tmp_path / RULES.name).write_text(TEXTS[RULES], encoding="utf-8")
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = promtool("check", "config", name, folder=tmp_path)
    if "kubernetes_sd_configs not found" in done.stderr:
        configuration = yaml.safe_load(text)
        configuration["scrape_configs"][0].pop("kubernetes_sd_configs")
        (tmp_path / name).write_text(yaml.safe_dump(configuration), encoding="utf-8")
        done = promtool("check", "config", name, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SCRAPES)
def test_each_configuration_scrapes_the_job_that_alerts_are_about_often_enough(name: str) -> None:
    """Four times in the interval over which alerts take their rates, and by the service that they name."""
    configuration: Mapping[str, Any] = yaml.safe_load((ROOT / FOLDER / name).read_text(encoding="utf-8"))
    assert [scraped["job_name"] for scraped in configuration["scrape_configs"]] == [JOB]
    assert configuration["rule_files"] == [RULES.name]
    assert 4 * seconds(configuration["global"]["scrape_interval"]) <= seconds(RATE_INTERVAL)
    assert 4 * seconds(configuration["global"]["evaluation_interval"]) <= min(seconds(a.lasts) for a in ALERTS)


def seconds(duration: str) -> int:
    """A duration of Prometheus's in seconds."""
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]
