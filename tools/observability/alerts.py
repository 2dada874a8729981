"""The alerts: each a trouble that a metric of the table shows, and that somebody has to do something about.

`docs/operations.md` has a section of each alert's name that says what to look at and what to do.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from ordersys.runtime.metrics import table
from ordersys.runtime.metrics.table import Metric
from tools.observability import promql
from tools.observability.promql import NOWHERE

JOB = "ordersys"
"""The job that the services are scraped by."""
RATE_INTERVAL = "5m"
"""The time over which alerts see how often something happens: room for 20 scrapes of 15 s."""
_FAILURES = "~UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"


class Severity(Enum):
    """The time within which somebody has to come: now, today, whenever it suits."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Case(NamedTuple):
    """Series as promtool writes them, a value each minute from the first on, and a minute at which it is looked at.

    `labels` are those of the alert that is to fire then: the ones by which its text names the service.
    """

    series: Mapping[str, str]
    minute: int
    labels: Mapping[str, str] = NOWHERE


class Alert(NamedTuple):
    """An alert: it fires while `measure` is beyond `limit` for as long as `lasts`.

    `may_be_empty` is true where the measure has no series before something went wrong, or before it was switched on.
    """

    name: str
    severity: Severity
    measure: str
    limit: str
    lasts: str
    summary: str
    description: str
    fires: Case
    is_silent: Case
    may_be_empty: bool = False

    @property
    def expression(self) -> str:
        """The measure and its limit."""
        return f"{self.measure} {self.limit}"


def _filled(expression: str) -> str:
    return expression.replace(promql.JOB, JOB).replace(promql.RATE_INTERVAL, RATE_INTERVAL)


def _of_all(function: str, expression: str) -> str:
    """Over all processes of a service, with whatever other labels tell systems apart."""
    return f"{function} without (instance, pod) ({_filled(expression)})"


def _total(metric: Metric, where: Mapping[str, str] = NOWHERE) -> str:
    return _of_all("sum", promql.series(metric, where))


def _largest(metric: Metric, where: Mapping[str, str] = NOWHERE) -> str:
    return _of_all("max", promql.series(metric, where))


def _rate(metric: Metric, where: Mapping[str, str] = NOWHERE, part: str = "") -> str:
    return _of_all("sum", promql.rate(metric, where, part))


def _each_service(expression: str) -> str:
    """Over all labels of a metric, for each service."""
    return f"sum by (job, namespace, service) ({_filled(expression)})"


def _share(part: str, whole: str) -> str:
    """The share of what happens; no series where nothing does."""
    return f"{_each_service(part)} / ({_each_service(whole)} > 0)"


def _given(metric: Metric, service: str, part: str = "", instance: str = "a", **labels: str) -> str:
    """A series of a service, as it is scraped."""
    return _scraped(f"{metric.name}{part}", service, instance, **labels)


def _scraped(name: str, service: str, instance: str = "a", **labels: str) -> str:
    pairs = {"job": JOB, "instance": instance, "service": service, **labels}
    matchers = ", ".join(f'{label}="{value}"' for label, value in pairs.items())
    return f"{name}{{{matchers}}}"


def _at(service: str, **labels: str) -> Mapping[str, str]:
    return {"job": JOB, "service": service, **labels}


_PRODUCT, _ORDER = "product-service", "order-service"
_SUBSCRIBER, _QUEUE = "notification-service-1", "notification-service-1.v1"
_METHOD = "ordersys.api.product.v1.ProductService/PlaceOrder"
_PUBLISHER = {"connection": "publisher"}
_CONSUMER = {"connection": "!publisher"}


def _calls(answers: Mapping[str, str]) -> Mapping[str, str]:
    """Calls of a method by the status code they are answered with."""
    return {
        _given(table.SERVER_CALL_SECONDS, _PRODUCT, "_count", rpc_method=_METHOD, rpc_status_code=code): values
        for code, values in answers.items()
    }


def _aged(at_most_10_s: str, at_most_10_min: str) -> Mapping[str, str]:
    """Events recorded by a subscriber, by their age at that."""
    counts = {"10.0": at_most_10_s, "60.0": at_most_10_s, "600.0": at_most_10_min, "+Inf": at_most_10_min}
    return {_given(table.EVENT_AGE_SECONDS, _SUBSCRIBER, "_bucket", le=le): values for le, values in counts.items()}


_SERVICES = (
    Alert(
        "OrdersysProcessDown",
        Severity.CRITICAL,
        _filled(promql.selected("up")),
        "== 0",
        "1m",
        "A process of {{ $labels.service }} does not answer",
        "Prometheus gets no metrics from {{ $labels.instance }}: the process is gone or hangs, or the network between"
        " the two is cut.",
        Case({_scraped("up", _ORDER): "1x2 0x9"}, 6, {**_at(_ORDER), "instance": "a"}),
        Case({_scraped("up", _ORDER): "1x2 0 1x9"}, 6),
    ),
    Alert(
        "OrdersysNotServing",
        Severity.CRITICAL,
        _largest(table.SERVING),
        "== 0",
        "1m",
        "{{ $labels.service }} is NOT_SERVING",
        "None of its processes can do its work: the database can't be written, the broker refuses, there are no keys of"
        " the issuer of tokens, or, of a subscriber, its queue does not deliver.",
        Case({_given(table.SERVING, _PRODUCT): "0x9"}, 5, _at(_PRODUCT)),
        Case({_given(table.SERVING, _PRODUCT): "0x9", _given(table.SERVING, _PRODUCT, instance="b"): "1x9"}, 5),
    ),
    Alert(
        "OrdersysNoSingleLeader",
        Severity.CRITICAL,
        _total(table.LEADER),
        "!= 1",
        "2m",
        "{{ $labels.service }} has not exactly one process that leads",
        "Without one nothing is published, recovered or recorded; two have different databases.",
        Case({_given(table.LEADER, _ORDER): "0x9", _given(table.LEADER, _ORDER, instance="b"): "0x9"}, 5, _at(_ORDER)),
        Case({_given(table.LEADER, _ORDER): "0x9", _given(table.LEADER, _ORDER, instance="b"): "1x9"}, 5),
    ),
    Alert(
        "OrdersysSpansDropped",
        Severity.INFO,
        _rate(table.SPANS_DROPPED),
        "> 0",
        "10m",
        "{{ $labels.service }} loses spans of traces",
        "The collector of traces is away or too slow. Calls and events are not affected.",
        Case({_given(table.SPANS_DROPPED, _ORDER): "0+60x30"}, 20, _at(_ORDER)),
        Case({_given(table.SPANS_DROPPED, _ORDER): "60x30"}, 20),
        may_be_empty=True,
    ),
)
_CALLS = (
    Alert(
        "OrdersysCallsFail",
        Severity.CRITICAL,
        _share(
            promql.rate(table.SERVER_CALL_SECONDS, {"rpc_status_code": _FAILURES}, "_count"),
            promql.rate(table.SERVER_CALL_SECONDS, part="_count"),
        ),
        "> 0.01",
        "5m",
        "More than 1 % of the calls of {{ $labels.service }} fail",
        "They are answered with a status code that is no fault of the caller's.",
        Case(_calls({"OK": "0+95x20", "UNAVAILABLE": "0+5x20"}), 12, _at(_PRODUCT)),
        Case(_calls({"OK": "0+50x20", "NOT_FOUND": "0+50x20", "UNAVAILABLE": "5x20"}), 12),
        may_be_empty=True,
    ),
    Alert(
        "OrdersysTooManyCalls",
        Severity.WARNING,
        _share(
            promql.rate(table.CALLS_REFUSED, {"reason": "TOO_MANY_CALLS"}),
            promql.rate(table.SERVER_CALL_SECONDS, part="_count"),
        ),
        "> 0.01",
        "5m",
        "{{ $labels.service }} refuses more than 1 % of its calls",
        "More calls come than it can have under way at a time. What is refused had no effect, and may be repeated.",
        Case(
            {
                **_calls({"OK": "0+95x20", "RESOURCE_EXHAUSTED": "0+5x20"}),
                _given(table.CALLS_REFUSED, _PRODUCT, reason="TOO_MANY_CALLS"): "0+5x20",
            },
            12,
            _at(_PRODUCT),
        ),
        Case(
            {
                **_calls({"OK": "0+995x20", "RESOURCE_EXHAUSTED": "0+5x20"}),
                _given(table.CALLS_REFUSED, _PRODUCT, reason="TOO_MANY_CALLS"): "0+5x20",
            },
            12,
        ),
        may_be_empty=True,
    ),
)
_SAGAS = (
    Alert(
        "OrdersysSagasInDoubt",
        Severity.WARNING,
        _largest(table.SAGAS_OLDEST_SECONDS),
        "> 300",
        "1m",
        "A placement or a change of an order is without an outcome",
        "For more than five minutes. Its stock stays held, and its order can't be changed, until the Order Service"
        " has answered.",
        Case({_given(table.SAGAS_OLDEST_SECONDS, _PRODUCT): "0+60x20"}, 10, _at(_PRODUCT)),
        Case({_given(table.SAGAS_OLDEST_SECONDS, _PRODUCT): "0+60x4 0x20"}, 10),
    ),
    Alert(
        "OrdersysStockImbalance",
        Severity.CRITICAL,
        f"abs({_total(table.STOCK_IMBALANCE_UNITS)})",  # NaN, which it is while it is not known, is different from 0
        "> 0",
        "1m",
        "Units of stock are held for nothing, or for two orders",
        "Products do not hold what orders and pending sagas hold. It never happens by itself.",
        Case({_given(table.STOCK_IMBALANCE_UNITS, _PRODUCT): "0x2 -3x9"}, 6, _at(_PRODUCT)),
        Case({_given(table.STOCK_IMBALANCE_UNITS, _PRODUCT): "0x2 NaN NaN NaN NaN NaN NaN"}, 7),
    ),
)
_PUBLISHING = (
    Alert(
        "OrdersysOutboxStuck",
        Severity.WARNING,
        _largest(table.OUTBOX_OLDEST_SECONDS),
        "> 30",
        "2m",
        "Events of {{ $labels.service }} are not published",
        "The oldest waits for more than 30 s. Calls are answered as ever, no event is lost, and all are published in"
        " order once they can be.",
        Case({_given(table.OUTBOX_OLDEST_SECONDS, _ORDER): "0+60x9"}, 6, _at(_ORDER)),
        Case({_given(table.OUTBOX_OLDEST_SECONDS, _ORDER): "0 20 40 1 20 40 1x9"}, 6),
    ),
    Alert(
        "OrdersysEventsParked",
        Severity.WARNING,
        _total(table.OUTBOX_EVENTS, {"state": "parked"}),
        "> 0",
        "1m",
        "Events of {{ $labels.service }} can't be published as they are",
        "They are kept, with all later events of their orders, until the reason in the log is removed.",
        Case({_given(table.OUTBOX_EVENTS, _ORDER, state="parked"): "0x2 1x9"}, 6, _at(_ORDER, state="parked")),
        Case(
            {
                _given(table.OUTBOX_EVENTS, _ORDER, state="parked"): "0x9",
                _given(table.OUTBOX_EVENTS, _ORDER, state="late"): "5x9",
            },
            6,
        ),
    ),
    Alert(
        "OrdersysEventsReturned",
        Severity.CRITICAL,
        _rate(table.SENT_MESSAGES, {"error_type": "returned"}),
        "> 0",
        "1m",
        "No queue takes events of {{ $labels.service }}",
        "RabbitMQ returns events to {{ $labels.messaging_destination_name }}: a queue or a binding is missing. They"
        " stay in the outbox; but what another queue took meanwhile may be lost to the one that is missing.",
        Case(
            {_given(table.SENT_MESSAGES, _ORDER, messaging_destination_name="x:y", error_type="returned"): "0+2x9"},
            6,
            _at(_ORDER, messaging_destination_name="x:y", error_type="returned"),
        ),
        Case(
            {
                _given(table.SENT_MESSAGES, _ORDER, messaging_destination_name="x:y", error_type=""): "0+200x9",
                _given(table.SENT_MESSAGES, _ORDER, messaging_destination_name="x:y", error_type="returned"): "2x9",
            },
            6,
        ),
    ),
    Alert(
        "OrdersysEventsNacked",
        Severity.WARNING,
        _rate(table.SENT_MESSAGES, {"error_type": "nacked"}),
        "> 0",
        "5m",
        "RabbitMQ refuses events of {{ $labels.service }}",
        "Events to {{ $labels.messaging_destination_name }} are nacked: a queue is full, or has no majority of its"
        " nodes. They stay in the outbox and are tried again.",
        Case(
            {_given(table.SENT_MESSAGES, _ORDER, messaging_destination_name="x:y", error_type="nacked"): "0+2x20"},
            12,
            _at(_ORDER, messaging_destination_name="x:y", error_type="nacked"),
        ),
        Case(
            {_given(table.SENT_MESSAGES, _ORDER, messaging_destination_name="x:y", error_type="nacked"): "0 2x20"}, 12
        ),
    ),
)
_CONSUMING = (
    Alert(
        "OrdersysEventsLate",
        Severity.WARNING,
        "histogram_quantile(0.99, sum by (job, namespace, service, le)"
        f" ({_filled(promql.rate(table.EVENT_AGE_SECONDS, part='_bucket'))}))",
        "> 60",
        "5m",
        "{{ $labels.service }} hears of changes more than a minute late",
        "Of the events it records, 1 % or more are older than 60 s.",
        Case(_aged("0+50x20", "0+100x20"), 12, _at(_SUBSCRIBER)),
        Case(_aged("0+100x20", "0+100x20"), 12),
    ),
    Alert(
        "OrdersysQueueLong",
        Severity.WARNING,
        _total(table.QUEUE_MESSAGES),
        "> 10000",
        "5m",
        "{{ $labels.messaging_destination_name }} has more than 10,000 messages",
        "Its subscriber is slower than the publishers, or takes nothing.",
        Case(
            {_given(table.QUEUE_MESSAGES, _SUBSCRIBER, messaging_destination_name=_QUEUE, state="ready"): "0+5000x20"},
            12,
            _at(_SUBSCRIBER, messaging_destination_name=_QUEUE, state="ready"),
        ),
        Case(
            {_given(table.QUEUE_MESSAGES, _SUBSCRIBER, messaging_destination_name=_QUEUE, state="ready"): "9000x20"}, 12
        ),
    ),
    Alert(
        "OrdersysDeadLetters",
        Severity.WARNING,
        _total(table.DEAD_LETTERS_KEPT),
        "> 0",
        "1m",
        "{{ $labels.service }} keeps dead letters",
        "It has not recorded what is in them, and will not before somebody replays them.",
        Case({_given(table.DEAD_LETTERS_KEPT, _SUBSCRIBER): "0x2 1x9"}, 6, _at(_SUBSCRIBER)),
        Case({_given(table.DEAD_LETTERS_KEPT, _SUBSCRIBER): "0x9"}, 6),
    ),
)
_BROKER = (
    Alert(
        "OrdersysNoPublisher",
        Severity.WARNING,
        _largest(table.BROKER_CONNECTED, _PUBLISHER),
        "== 0",
        "2m",
        "{{ $labels.service }} has no connection to RabbitMQ",
        "Calls are answered as ever; events wait in the outbox.",
        Case({_given(table.BROKER_CONNECTED, _ORDER, **_PUBLISHER): "0x9"}, 5, _at(_ORDER, **_PUBLISHER)),
        Case({_given(table.BROKER_CONNECTED, _ORDER, **_PUBLISHER): "0 1 0 1 0 1 0 1x9"}, 5),
    ),
    Alert(
        "OrdersysNoConsumer",
        Severity.CRITICAL,
        _largest(table.BROKER_CONNECTED, _CONSUMER),
        "== 0",
        "2m",
        "Nobody consumes {{ $labels.connection }}",
        "{{ $labels.service }} has no connection to RabbitMQ for it. Events wait in the queue.",
        Case(
            {_given(table.BROKER_CONNECTED, _SUBSCRIBER, connection=_QUEUE): "0x9"},
            5,
            _at(_SUBSCRIBER, connection=_QUEUE),
        ),
        Case({_given(table.BROKER_CONNECTED, _SUBSCRIBER, connection=_QUEUE): "1x9"}, 5),
    ),
    Alert(
        "OrdersysBrokerBlocked",
        Severity.CRITICAL,
        _largest(table.BROKER_BLOCKED),
        "> 0",
        "1m",
        "RabbitMQ takes no events from {{ $labels.service }}",
        "It has an alarm of memory or disk, and blocks publishers until that is over. Events wait in the outbox.",
        Case({_given(table.BROKER_BLOCKED, _ORDER, **_PUBLISHER): "1x9"}, 5, _at(_ORDER, **_PUBLISHER)),
        Case({_given(table.BROKER_BLOCKED, _ORDER, **_PUBLISHER): "0x9"}, 5),
    ),
)
_DATABASE = (
    Alert(
        "OrdersysDatabaseNotWritable",
        Severity.CRITICAL,
        _filled(promql.series(table.DATABASE_WRITABLE)),
        "== 0",
        "1m",
        "The database of {{ $labels.service }} can't be written",
        "By the process {{ $labels.instance }}, which answers calls that change something with STORAGE_UNAVAILABLE.",
        Case({_given(table.DATABASE_WRITABLE, _ORDER): "0x9"}, 5, {**_at(_ORDER), "instance": "a"}),
        Case({_given(table.DATABASE_WRITABLE, _ORDER): "1x3 0 1x9"}, 5),
    ),
)

ALERTS = (*_SERVICES, *_CALLS, *_SAGAS, *_PUBLISHING, *_CONSUMING, *_BROKER, *_DATABASE)
"""All alerts, in the order of the file."""
