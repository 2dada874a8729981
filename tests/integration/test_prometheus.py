"""A real Prometheus beside a real system under load: each expression of the dashboard and of the alerts is answered."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ordersys.contract.addresses import Address
from ordersys.local import state
from tests.integration.api import eventually
from tests.integration.conftest import skip_without_rabbitmq
from tests.prometheus import Prometheus, programs_or_skip, running
from tests.running import addresses, local, repeated
from tools.observability import promql, rules, targets
from tools.observability.__main__ import FOLDER, RULES
from tools.observability.alerts import ALERTS, JOB, Alert
from tools.observability.panels import ROWS

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parent.parent.parent
CONFIGURATION = "prometheus-local.yaml"
PANELS = [panel for panels in ROWS.values() for panel in panels]
PROCESSES = 4
INTERVAL = "1s"
RATE_INTERVAL = "1m"
"""Rates see all that was done since the system runs."""
SECONDS = 60.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that watches a system under load, with the files of the repository; it only looks more often."""
    skip_without_rabbitmq()
    programs_or_skip()
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        at = addresses(stack.enter_context(local(folder / "system")))
        configure(folder, state.running(str(folder / "system")).metrics)
        server = stack.enter_context(running(folder, folder / CONFIGURATION))
        eventually(lambda: len(server.query(f'up{{job="{JOB}"}} == 1')) == PROCESSES, SECONDS)
        stack.enter_context(repeated(partial(demo, at)))
        yield server


def configure(folder: Path, processes: Mapping[str, Address], alerts: Sequence[Alert] = ALERTS) -> None:
    """Puts the files of Prometheus into `folder`, with these processes to scrape."""
    text = (ROOT / FOLDER / CONFIGURATION).read_text(encoding="utf-8")
    assert text.count("interval: 5s") == 2
    (folder / CONFIGURATION).write_text(text.replace("interval: 5s", f"interval: {INTERVAL}"), encoding="utf-8")
    (folder / RULES.name).write_text(rules.rules(alerts), encoding="utf-8")
    (folder / targets.FILE.name).write_text(targets.document(processes), encoding="utf-8")


def demo(at: Mapping[str, str]) -> None:
    """Walks through the demo once."""
    command = [sys.executable, "-m", "ordersys.grpc_client", "demo", "--json", "--orders", "50"]
    subprocess.run(command, env={**os.environ, **at}, stdout=subprocess.DEVNULL, check=True)


def values(prometheus: Prometheus, expression: str) -> list[float]:
    """The values of an expression, each series'."""
    filled = expression.replace(promql.JOB, JOB).replace(promql.RATE_INTERVAL, RATE_INTERVAL)
    return [float(series["value"][1]) for series in prometheus.query(filled)]


def answered(prometheus: Prometheus, expression: str, may_be_empty: bool) -> None:
    """Waits until an expression has series, where it may not be empty, and each of them is a number.

    What is a share of what has happened is none until something has: the load takes a while to begin.
    """

    def is_answered() -> bool:
        numbers = values(prometheus, expression)
        return (may_be_empty or bool(numbers)) and not any(map(math.isnan, numbers))

    eventually(is_answered, SECONDS)


def test_each_expression_of_the_dashboard_has_an_answer_under_load(prometheus: Prometheus) -> None:
    """A series at least, and none that is no number; where it may be empty none is needed."""
    for panel in PANELS:
        for query in panel.queries:
            answered(prometheus, query.expression, panel.may_be_empty)


def test_each_alert_has_a_measure_under_load_and_is_silent(prometheus: Prometheus) -> None:
    """Also before it has lasted: nothing is pending."""
    for alert in ALERTS:
        answered(prometheus, alert.measure, alert.may_be_empty)
    assert {rule["name"]: (rule["health"], rule["state"]) for rule in judged(prometheus)} == {
        alert.name: ("ok", "inactive") for alert in ALERTS
    }


def judged(prometheus: Prometheus) -> list[Mapping[str, Any]]:
    """The rules as Prometheus has loaded and judged them."""
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def test_each_series_is_of_a_service(prometheus: Prometheus) -> None:
    """By the name that alerts and panels have for it."""
    services = {series["metric"]["service"] for series in prometheus.query(f'up{{job="{JOB}"}}')}
    assert services == {"product-service", "order-service", "notification-service-1", "notification-service-2"}
