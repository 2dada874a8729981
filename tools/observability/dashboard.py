"""The dashboard as Grafana imports it (JSON, schema version 42)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tools.observability.panels import Panel

SCHEMA_VERSION = 42
COLUMNS = 24
"""The width of a dashboard in units of its grid."""
_WIDTH, _HEIGHT = 8, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def document(rows: Mapping[str, Sequence[Panel]]) -> str:
    """The dashboard with these rows of panels, three beside each other, as JSON."""
    content = {
        "uid": "ordersys",
        "title": "ordersys",
        "description": "Made by `nox -s codegen` from the table of metrics.",
        "tags": ["ordersys"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # the crosshair of all panels at once
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(_variables())},
        "annotations": {"list": []},
        "panels": list(_laid_out(rows)),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _variables() -> Iterator[Mapping[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    query = "label_values(ordersys_build_info, job)"
    yield {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "job"},
        "refresh": 2,  # when the time range changes
        "sort": 1,
    }


def _laid_out(rows: Mapping[str, Sequence[Panel]]) -> Iterator[Mapping[str, Any]]:
    identifier, top = 0, 0
    for title, panels in rows.items():
        identifier += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": identifier, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        top += 1
        for number, panel in enumerate(panels):
            identifier += 1
            line, column = divmod(number, COLUMNS // _WIDTH)
            place = {"x": column * _WIDTH, "y": top + line * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            yield {"id": identifier, "gridPos": place, **_drawn(panel)}
        top += -(-len(panels) * _WIDTH // COLUMNS) * _HEIGHT


def _drawn(panel: Panel) -> Mapping[str, Any]:
    """A panel without its place."""
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "color": {"mode": "palette-classic"},
                "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }
