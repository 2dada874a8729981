"""The panels of the dashboard by row: which metric is shown, over which labels, and why it is looked at.

The unit and, where none is written here, the description of a panel are those of its metric.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ordersys.runtime.metrics import table
from ordersys.runtime.metrics.table import Metric
from tools.observability import promql
from tools.observability.promql import NOWHERE


class Query(NamedTuple):
    """An expression, and the name of each of its series."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A panel; `unit` is an identifier of Grafana's.

    `may_be_empty` is true where there is no series before something went wrong, or before it was switched on.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    may_be_empty: bool = False


_RATE_UNITS: Mapping[str, str] = {"calls": "reqps", "events": "eps", "messages": "mps"}
_UNITS: Mapping[str, str] = {"seconds": "s", "bytes": "bytes"}
_SHARES = (0.5, 0.99)
_NOT_OK: Mapping[str, str] = {"rpc_status_code": "!OK"}
_NOT_CONFIRMED: Mapping[str, str] = {"error_type": "!"}


def _legend(*by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by)


def _rates(title: str, metric: Metric, *by: str, where: Mapping[str, str] = NOWHERE) -> Panel:
    """A counter, or the observations of a histogram, a second."""
    part = "_count" if metric.kind is table.Kind.HISTOGRAM else ""
    query = Query(promql.total(promql.rate(metric, where, part), *by), _legend(*by))
    return Panel(title, metric.meaning, _RATE_UNITS.get(metric.unit, "cps"), [query])


def _only_what_happens(panel: Panel) -> Panel:
    """Without the many lines at 0 of what never happens."""
    queries = [query._replace(expression=f"{query.expression} > 0") for query in panel.queries]
    return panel._replace(queries=queries, may_be_empty=True)


def _only_what_is_known(panel: Panel) -> Panel:
    """Without values that are NaN."""
    return panel._replace(queries=[query._replace(expression=f"{query.expression} > -Inf") for query in panel.queries])


def _values(title: str, metric: Metric, *by: str, where: Mapping[str, str] = NOWHERE) -> Panel:
    """A gauge, summed over processes: whatever they share only their leader tells of."""
    query = Query(promql.total(promql.series(metric, where), *by), _legend(*by))
    return Panel(title, metric.meaning, _UNITS.get(metric.unit, "short"), [query])


def _quantiles(title: str, metric: Metric, *by: str) -> Panel:
    queries = [Query(promql.quantile(share, metric, *by), f"p{share * 100:g} {_legend(*by)}") for share in _SHARES]
    return Panel(title, metric.meaning, _UNITS.get(metric.unit, "short"), queries)


def _means(title: str, metric: Metric, *by: str) -> Panel:
    return Panel(title, metric.meaning, "short", [Query(promql.mean(metric, *by), _legend(*by))])


def _metric(name: str) -> Metric:
    """One that the client library of Prometheus writes."""
    (metric,) = (metric for metric in table.TABLE if metric.name == name)
    return metric


_CPU, _MEMORY, _STARTED, _DESCRIPTORS = map(
    _metric,
    ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds"),
)

_SERVICES = (
    Panel(
        "Processes that answer Prometheus",
        "Of each service: 0 is a process that is gone, hangs, or can't be reached from Prometheus.",
        "short",
        [Query(promql.total(promql.selected("up"), "service"), _legend("service"))],
    ),
    _values("Processes that are SERVING", table.SERVING, "service"),
    _values("Processes that lead", table.LEADER, "service"),
    _values("Releases", table.BUILD_INFO, "service", "version", "python_version"),
    Panel(
        "Processor time",
        "Of each process: 100 % is a whole core, and the most that its event loop can use.",
        "percentunit",
        [Query(promql.total(promql.rate(_CPU), "service", "instance"), _legend("service", "instance"))],
    ),
    _values("Memory", _MEMORY, "service", "instance"),
    Panel(
        "Time since the start",
        "Of each process: it falls to 0 where one was restarted.",
        "s",
        [
            Query(
                promql.total(f"time() - {promql.series(_STARTED)}", "service", "instance"),
                _legend("service", "instance"),
            )
        ],
    ),
    _values("File descriptors", _DESCRIPTORS, "service", "instance"),
    _rates("Spans that were dropped", table.SPANS_DROPPED, "service")._replace(may_be_empty=True),  # without traces
)
_CALLS = (
    _rates("Calls by service", table.SERVER_CALL_SECONDS, "service"),
    _rates("Calls by method", table.SERVER_CALL_SECONDS, "rpc_method"),
    _rates(
        "Calls that were not answered OK", table.SERVER_CALL_SECONDS, "service", "rpc_status_code", where=_NOT_OK
    )._replace(
        description="By the status code. A refusal (FAILED_PRECONDITION, NOT_FOUND and others) is an answer as the"
        " contract has it; INTERNAL, UNKNOWN, UNAVAILABLE and DEADLINE_EXCEEDED are failures.",
        may_be_empty=True,
    ),
    _quantiles("Duration of calls", table.SERVER_CALL_SECONDS, "rpc_method"),
    _only_what_happens(_rates("Calls that were refused", table.CALLS_REFUSED, "service", "reason")),
    _values("Calls in flight", table.CALLS_IN_FLIGHT, "service"),
)
_SAGAS = (
    _rates("Outcomes of sagas", table.SAGAS_SETTLED, "kind", "result"),
    _values("Pending sagas", table.SAGAS_PENDING, "kind"),
    _values("Age of the oldest pending saga", table.SAGAS_OLDEST_SECONDS, "service"),
    _quantiles("Duration of calls to the Order Service", table.CLIENT_CALL_SECONDS, "rpc_method"),
    _rates("Sagas that recovery settled", table.SWEEP_SETTLED, "result"),
)
_OUTBOX = (
    _values("Events in the outbox", table.OUTBOX_EVENTS, "service", "state"),
    _values("Age of the oldest event in the outbox", table.OUTBOX_OLDEST_SECONDS, "service"),
    _rates("Events sent", table.SENT_MESSAGES, "service", "messaging_destination_name"),
    _rates("Events that were not confirmed", table.SENT_MESSAGES, "service", "error_type", where=_NOT_CONFIRMED),
    _quantiles("Duration of a window", table.PUBLISH_SECONDS, "service"),
    _quantiles("Time an item waits for its batch", table.BATCH_WAIT_SECONDS, "service", "batch"),
)
_QUEUES = (
    _values("Messages ready in queues", table.QUEUE_MESSAGES, "messaging_destination_name"),
    _quantiles("Age of events when they are recorded", table.EVENT_AGE_SECONDS, "service"),
    _rates("Deliveries", table.CONSUMED_MESSAGES, "messaging_destination_name"),
    _rates("Redeliveries", table.REDELIVERED, "messaging_destination_name"),
    _rates("Events in the inbox", table.INBOX_EVENTS, "service", "event", "result"),
    _quantiles("Duration of recording", table.PROCESS_SECONDS, "messaging_destination_name"),
    _rates("New dead letters", table.DEAD_LETTERS, "service", "reason"),
    _values("Dead letters that are kept", table.DEAD_LETTERS_KEPT, "service"),
)
_BROKER = (
    _values("Open connections", table.BROKER_CONNECTED, "service", "connection"),
    _values("Blocked connections", table.BROKER_BLOCKED, "service", "connection"),
    _rates("Connections that were made again", table.BROKER_RECONNECTS, "service", "connection"),
)
_DATABASE = (
    _values("Processes that can write", table.DATABASE_WRITABLE, "service"),
    _rates("Commits", table.COMMIT_SECONDS, "service"),
    _quantiles("Duration of a commit", table.COMMIT_SECONDS, "service"),
    _means("Items of a batch", table.BATCH_ITEMS, "service", "batch"),
    _values("Reads under way or waiting", table.DATABASE_READERS, "service"),
)
_STOCK = (
    _values("Units of stock", table.STOCK_UNITS, "state"),
    _only_what_is_known(_values("Imbalance of stock", table.STOCK_IMBALANCE_UNITS, "service")),
)

ROWS: Mapping[str, Sequence[Panel]] = {
    "Services": _SERVICES,
    "Calls": _CALLS,
    "Orders and sagas": _SAGAS,
    "Outbox and publishing": _OUTBOX,
    "Queues and subscribers": _QUEUES,
    "Broker": _BROKER,
    "Database": _DATABASE,
    "Stock": _STOCK,
}
"""The panels by the title of their row, in the order of the dashboard."""
UNSHOWN = frozenset({"process_virtual_memory_bytes", "process_max_fds"})
"""Metrics without a panel: the library writes them, and they tell of no trouble."""
