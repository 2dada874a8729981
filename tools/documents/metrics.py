"""The metrics as a page for people, from their table: ordersys/runtime/metrics/table.py."""

from collections.abc import Iterable, Iterator

from ordersys.runtime.metrics.table import EVERY, TABLE, Label, Metric, Service, Source

_INTRODUCTION = """# Metrics

Derived from [`metrics/table.py`](../ordersys/runtime/metrics/table.py) by `nox -s codegen`.

Each process serves its metrics at `http://HOST:PORT/metrics`, in the text format of Prometheus or in OpenMetrics, once
`ORDERSYS_METRICS_ADDRESS` names the address; without it nothing is counted, unless metrics go to a [collector of
OpenTelemetry](operations.md#metrics-over-otlp). `python -m ordersys.local` chooses a free port of this machine for
each process, and writes the addresses into `running.json` in its data folder:

```sh
python3 -c 'import json; print(json.load(open("./orders/running.json"))["metrics"])'
curl http://127.0.0.1:PORT/metrics
```

Whoever reaches the address may read: there is no password and no encryption. The metrics hold no order, customer or
product, but they tell how much is done and what goes wrong. Name an address of this machine, or one that only
Prometheus reaches. Only GET and HEAD are answered, and a service works on whatever happens there.

Names and labels are those of the conventions of OpenTelemetry where they have any, as a collector writes them for
Prometheus; the others begin with `ordersys_`. An empty label is one that is absent. Of several processes that share a
database the one that leads measures the database and the queues, and the others show 0: the sum over all of them is
right. What has to be asked of the database or the broker is asked once a second."""
_ASIDE = "The client library of Prometheus adds, on Linux: "


def page() -> str:
    """The page in Markdown."""
    groups = {service: [m for m in TABLE if m.services == (service,)] for service in Service}
    shared = [m for m in TABLE if m.services == EVERY and not _is_of_library(m)]
    publishers = [m for m in TABLE if 1 < len(m.services) < len(EVERY)]
    chapters: list[tuple[str, list[Metric]]] = [
        ("All services", shared),
        ("Product Service and Order Service", publishers),
        *((f"{service.value[0].upper()}{service.value[1:]}", metrics) for service, metrics in groups.items()),
    ]
    parts = [part for title, metrics in chapters if metrics for part in (f"## {title}", _table(metrics))]
    library = ", ".join(f"`{m.name}`" for m in TABLE if _is_of_library(m))
    return "\n\n".join([_INTRODUCTION, *parts, "## Labels", _labels(), f"{_ASIDE}{library}."]) + "\n"


def _is_of_library(metric: Metric) -> bool:
    return metric.name.startswith("process_")


def _table(metrics: Iterable[Metric]) -> str:
    rows = [(f"`{m.name}`", m.kind.value, m.unit, _named(m), m.meaning, m.moved_by) for m in metrics]
    return _lines([("metric", "kind", "unit", "labels", "meaning", "trouble that shows in it"), *rows])


def _named(metric: Metric) -> str:
    return ", ".join(f"`{label.name}`{_values(label)}" for label in metric.labels)


def _values(label: Label) -> str:
    """Those that stand in the table; the empty one is quoted."""
    values = [value or '""' for value in label.values]
    return f": {', '.join(values)}" if values else ""


def _labels() -> str:
    """The sources of the values of labels, each once: one name may stand for several kinds."""
    sources: dict[str, dict[Source, None]] = {}
    for label in (label for metric in TABLE for label in metric.labels):
        if label.source is not None:
            sources.setdefault(label.name, {})[label.source] = None
    rows = [(f"`{name}`", "; or ".join(source.value for source in each)) for name, each in sources.items()]
    return _lines([("label", "its values"), *rows])


def _lines(rows: Iterable[tuple[str, ...]]) -> str:
    def lines() -> Iterator[str]:
        for number, row in enumerate(rows):
            yield f"| {' | '.join(row)} |"
            if number == 0:
                yield f"|{'|'.join('---' for _ in row)}|"

    return "\n".join(lines())
