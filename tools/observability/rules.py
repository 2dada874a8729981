"""The alerts as rules of Prometheus, as a resource of its operator, and as the cases that promtool tests them with."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tools.observability.alerts import Alert, Case

RUNBOOKS = "docs/operations.md"
"""The page with a section for each alert, by its path in the repository."""
_HEADER = "# Made by `nox -s codegen` from tools/observability/alerts.py."


def rules(alerts: Sequence[Alert]) -> str:
    """The file of rules that Prometheus loads."""
    return _yaml(_groups(alerts))


def resource(alerts: Sequence[Alert]) -> str:
    """The same rules for the Prometheus Operator."""
    metadata = {"name": "ordersys"}
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    return _yaml({**kind, "metadata": metadata, "spec": _groups(alerts)})


def tests(alerts: Sequence[Alert], rules_file: str) -> str:
    """The file that `promtool test rules` takes: of each alert a case in which it fires and a case in which not."""
    cases = [_tested(alert, case) for alert in alerts for case in (alert.fires, alert.is_silent)]
    return _yaml({"rule_files": [rules_file], "evaluation_interval": "1m", "tests": cases})


def runbook(alert: Alert) -> str:
    """The section of an alert: a heading of its name, which GitHub links to in lower case."""
    return f"{RUNBOOKS}#{alert.name.lower()}"


def _groups(alerts: Sequence[Alert]) -> Mapping[str, Any]:
    return {"groups": [{"name": "ordersys", "rules": [_rule(alert) for alert in alerts]}]}


def _rule(alert: Alert) -> Mapping[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.lasts,
        "labels": {"severity": alert.severity.value},
        "annotations": _annotations(alert),
    }


def _annotations(alert: Alert) -> dict[str, str]:
    return {"summary": alert.summary, "description": alert.description, "runbook_url": runbook(alert)}


def _tested(alert: Alert, case: Case) -> Mapping[str, Any]:
    series = [{"series": name, "values": values} for name, values in case.series.items()]
    expected = [_fired(alert, case.labels)] if case.labels else []
    test = {"eval_time": f"{case.minute}m", "alertname": alert.name, "exp_alerts": expected}
    return {"interval": "1m", "input_series": series, "alert_rule_test": [test]}


def _fired(alert: Alert, labels: Mapping[str, str]) -> Mapping[str, Any]:
    """The alert with these labels, which its text names."""
    shown = {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: labels[label[1]], text)
        for name, text in _annotations(alert).items()
    }
    return {"exp_labels": {**labels, "severity": alert.severity.value}, "exp_annotations": shown}


class _Dumper(yaml.SafeDumper):
    """Indents lists, as the other files of deploy/ do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"{_HEADER}\n{text}"
