"""Writes the dashboard and the alerts of deploy/: `python -m tools.observability`.

Called by nox once the stubs are made. The files are committed, so that they can be used without tools.
"""

from pathlib import Path

from tools.codegen import ROOT
from tools.observability import dashboard, rules
from tools.observability.alerts import ALERTS
from tools.observability.panels import ROWS

FOLDER = Path("deploy/observability")
DASHBOARD, RULES, TESTS = FOLDER / "dashboard.json", FOLDER / "alerts.yaml", FOLDER / "alerts_test.yaml"
RESOURCE = Path("deploy/kubernetes/components/prometheus-operator/alerts.yaml")


def texts() -> dict[Path, str]:
    """The files by path below the root of the repository."""
    return {
        DASHBOARD: dashboard.document(ROWS),
        RULES: rules.rules(ALERTS),
        TESTS: rules.tests(ALERTS, RULES.name),
        RESOURCE: rules.resource(ALERTS),
    }


def write(root: Path = ROOT) -> None:
    """Writes all files below `root`."""
    for path, text in texts().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def main() -> None:
    """`python -m tools.observability`."""
    write()
    print(f"observability: {', '.join(str(path) for path in texts())}")


if __name__ == "__main__":
    main()
