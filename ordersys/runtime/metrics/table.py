"""The metrics of all services: the one table from which instruments, documents, dashboards and alerts derive.

Pure data. A name that the conventions of OpenTelemetry know has their name and their labels, as a collector would write
them for Prometheus; the others begin with `ordersys_`. Units are base units (seconds, bytes) and stand in the name, and
what only counts upward ends in `_total`. Labels are bounded: their values stand here or in the contract, and no order,
customer, product or request is ever one.

Where several processes share a database, whatever is about the database or a queue is measured by the process that
leads, and is 0 at the others: the sum over all of them is right.
"""

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """The kind of a metric, by the name Prometheus has for it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Service(Enum):
    """The services by what they do; a subscriber is any notification service of the contract."""

    PRODUCT = "Product Service"
    ORDER = "Order Service"
    SUBSCRIBER = "notification services"


class Source(Enum):
    """The part of the contract, or of the process, that a label has its values from."""

    RPC = "the RPCs of the contract, health and reflection, such as `ordersys.api.order.v1.OrderService/GetOrder`"
    CALLED_RPC = "the RPCs of the Order Service that the Product Service calls"
    STATUS_CODE = "the status codes of gRPC, such as `OK`"
    ERROR_REASON = "the error reasons of the contract"
    DESTINATION = "`exchange:routing_key` of the events this service publishes"
    QUEUE = "the queue of this service and that of its dead letters"
    CONNECTION = "`publisher`, or the queue that is consumed by the connection"
    EVENT = "the events this service takes, such as `OrderCreated`"
    ITSELF = "one value for each process"


class Label(NamedTuple):
    """A label: its name, and either its values or where they come from."""

    name: str
    values: tuple[str, ...] = ()
    source: Source | None = None


class Metric(NamedTuple):
    """A metric as it is exposed.

    `unit` is what one of it is; `moved_by` the trouble that shows in it, empty where it tells of ordinary work;
    `buckets` the upper bounds of a histogram.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    services: tuple[Service, ...]
    labels: tuple[Label, ...] = ()
    moved_by: str = ""
    buckets: tuple[float, ...] = ()


EVERY = tuple(Service)
PRODUCT = (Service.PRODUCT,)
PUBLISHERS = (Service.PRODUCT, Service.ORDER)
SUBSCRIBERS = (Service.SUBSCRIBER,)

# Most calls and commits take less than the 5 ms with which the bounds advised by OpenTelemetry begin.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_AGE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
_ITEMS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 500.0)

_STATUS_CODE = Label("rpc_status_code", source=Source.STATUS_CODE)
_QUEUE = Label("messaging_destination_name", source=Source.QUEUE)
BATCHES = ("commit", "placements", "window", "deliveries")
_BATCH = Label("batch", BATCHES)
_CONNECTION = Label("connection", source=Source.CONNECTION)

SERVER_CALL_SECONDS = Metric(
    "rpc_server_call_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "The time from the arrival of a call to its answer; of a stream to its end.",
    EVERY,
    (Label("rpc_method", source=Source.RPC), _STATUS_CODE),
    moved_by="calls that fail (`rpc_status_code`) or take long: a database, a service behind, or a bug",
    buckets=_SECONDS,
)
CLIENT_CALL_SECONDS = Metric(
    "rpc_client_call_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "The time a call to the Order Service takes, with the tries it is made again and the wait for a connection.",
    PRODUCT,
    (Label("rpc_method", source=Source.CALLED_RPC), _STATUS_CODE),
    moved_by="the Order Service is away or slow",
    buckets=_SECONDS,
)
CALLS_IN_FLIGHT = Metric(
    "ordersys_calls_in_flight",
    Kind.GAUGE,
    "calls",
    "The calls of the contract that are admitted and not answered.",
    EVERY,
)
CALLS_REFUSED = Metric(
    "ordersys_calls_refused_total",
    Kind.COUNTER,
    "calls",
    "Calls that were answered with an error reason of the contract.",
    EVERY,
    (Label("reason", source=Source.ERROR_REASON),),
    moved_by="more load than can be done (TOO_MANY_CALLS), a caller nobody knows, a bug (INTERNAL_ERROR)",
)
SERVING = Metric(
    "ordersys_serving",
    Kind.GAUGE,
    "1 or 0",
    "1 while the service tells grpc.health.v1 that it is SERVING.",
    EVERY,
    moved_by="whatever keeps the service from its work for longer than a second",
)
LEADER = Metric(
    "ordersys_leader",
    Kind.GAUGE,
    "1 or 0",
    "1 while this process leads those that share its database; one that has a file for itself always does.",
    EVERY,
    moved_by="no process leads, or two believe they do: the sum over the processes of a service has to be 1",
)

OUTBOX_EVENTS = Metric(
    "ordersys_outbox_events",
    Kind.GAUGE,
    "events",
    "Events that wait to be published: not tried yet (`new`), to be tried again (`late`), or kept aside since they"
    " can't be published as they are (`parked`). Exact up to 10,000, above that an estimate from sequence numbers.",
    PUBLISHERS,
    (Label("state", ("new", "late", "parked")),),
    moved_by="the outbox is stuck: the broker is away, blocked, or takes an event not",
)
OUTBOX_OLDEST_SECONDS = Metric(
    "ordersys_outbox_oldest_age_seconds",
    Kind.GAUGE,
    "seconds",
    "The age of the event that waits longest to be published, 0 when none does.",
    PUBLISHERS,
    moved_by="the outbox is stuck",
)
SENT_MESSAGES = Metric(
    "messaging_client_sent_messages_total",
    Kind.COUNTER,
    "messages",
    "Events that were sent to the broker, each try of them, by the answer: an empty `error_type` is a confirm.",
    PUBLISHERS,
    (
        Label("messaging_destination_name", source=Source.DESTINATION),
        Label("error_type", ("", "nacked", "returned", "unconfirmed")),
    ),
    moved_by="a nack (a queue is full), a return (a binding is gone), a broker that does not confirm",
)
PUBLISH_SECONDS = Metric(
    "messaging_client_operation_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "The time from the first event of a window that is sent to the last confirm of that window.",
    PUBLISHERS,
    (Label("messaging_operation_name", ("publish",)),),
    moved_by="a broker that is blocked or slow",
    buckets=_SECONDS,
)

BATCH_ITEMS = Metric(
    "ordersys_batch_items",
    Kind.HISTOGRAM,
    "items",
    "The size of a batch: of the writes in a commit, of the placements begun together, of a window of events, of the"
    " deliveries recorded together.",
    EVERY,
    (_BATCH,),
    buckets=_ITEMS,
)
BATCH_WAIT_SECONDS = Metric(
    "ordersys_batch_wait_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "The time the first item of a batch has waited for the batch to begin.",
    EVERY,
    (Label("batch", ("commit", "placements", "deliveries")),),
    buckets=_SECONDS,
)
COMMIT_SECONDS = Metric(
    "ordersys_commit_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "The time a transaction takes, from its beginning until it is on disk.",
    EVERY,
    moved_by="a slow disk or database server",
    buckets=_SECONDS,
)
DATABASE_WRITABLE = Metric(
    "ordersys_database_writable",
    Kind.GAUGE,
    "1 or 0",
    "1 while the database can be written, as it was probed last, once a second.",
    EVERY,
    moved_by="the database can't be written: no room, a lost or damaged file, a server that is away",
)
DATABASE_READERS = Metric(
    "ordersys_database_readers", Kind.GAUGE, "reads", "Reads under way or waiting for a reader's thread.", EVERY
)

EVENT_AGE_SECONDS = Metric(
    "ordersys_event_age_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "The time from the change an event tells of to its recording by this subscriber: how far it lags behind.",
    SUBSCRIBERS,
    moved_by="a subscriber or a relay that was stopped, or is too slow",
    buckets=_AGE_SECONDS,
)
PROCESS_SECONDS = Metric(
    "messaging_process_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "The time from handing deliveries to whoever records them to their settlement, for all that are recorded together.",
    SUBSCRIBERS,
    (_QUEUE,),
    moved_by="a slow disk; deliveries that can't be recorded",
    buckets=_SECONDS,
)
CONSUMED_MESSAGES = Metric(
    "messaging_client_consumed_messages_total",
    Kind.COUNTER,
    "messages",
    "Deliveries taken from a queue, those that come again included.",
    SUBSCRIBERS,
    (_QUEUE,),
)
REDELIVERED = Metric(
    "ordersys_redelivered_total",
    Kind.COUNTER,
    "messages",
    "Deliveries the broker says it has delivered before.",
    SUBSCRIBERS,
    (_QUEUE,),
    moved_by="a delivery that was not settled: a killed process, a lost connection, a handler that fails",
)
INBOX_EVENTS = Metric(
    "ordersys_inbox_events_total",
    Kind.COUNTER,
    "events",
    "Events that went through the inbox: `new`, `late` (recorded behind a newer version of its order), `repeated`"
    " (recorded before, nothing to do), `conflicting` (its id is recorded with another body; a dead letter).",
    SUBSCRIBERS,
    (Label("event", source=Source.EVENT), Label("result", ("new", "late", "repeated", "conflicting"))),
    moved_by="a duplicate (`repeated`)",
)
DEAD_LETTERS = Metric(
    "ordersys_dead_letters_total",
    Kind.COUNTER,
    "messages",
    "Dead letters of this subscriber that were taken over from their queue, by the reason the broker gives.",
    SUBSCRIBERS,
    (Label("reason", ("rejected", "delivery_limit", "expired", "maxlen", "other")),),
    moved_by="a dead letter: what no subscriber can read, or what failed as often as the delivery limit allows",
)
DEAD_LETTERS_KEPT = Metric(
    "ordersys_dead_letters_kept",
    Kind.GAUGE,
    "messages",
    "Dead letters that are kept and wait for somebody to replay or discard them; counted up to 10,000.",
    SUBSCRIBERS,
    moved_by="a dead letter",
)
QUEUE_MESSAGES = Metric(
    "ordersys_queue_messages",
    Kind.GAUGE,
    "messages",
    "Messages that wait in a queue of this subscriber, without those it has in hand; asked of the broker every second.",
    SUBSCRIBERS,
    (_QUEUE, Label("state", ("ready",))),
    moved_by="a subscriber that is too slow, or whose database can't be written",
)

BROKER_CONNECTED = Metric(
    "ordersys_broker_connected",
    Kind.GAUGE,
    "1 or 0",
    "1 while this connection to the broker is open and the topology is declared.",
    EVERY,
    (_CONNECTION,),
    moved_by="the broker is away, or refuses",
)
BROKER_BLOCKED = Metric(
    "ordersys_broker_blocked",
    Kind.GAUGE,
    "1 or 0",
    "1 while the broker takes nothing from this connection (connection.blocked): it has an alarm of memory or disk.",
    EVERY,
    (_CONNECTION,),
    moved_by="a broker that is blocked",
)
BROKER_RECONNECTS = Metric(
    "ordersys_broker_reconnects_total",
    Kind.COUNTER,
    "connections",
    "Connections to the broker that were made after an earlier one.",
    EVERY,
    (_CONNECTION,),
    moved_by="a connection that was lost or given up",
)

SAGAS_PENDING = Metric(
    "ordersys_sagas_pending",
    Kind.GAUGE,
    "sagas",
    "Placements and changes of orders that are begun and not completed or compensated; counted up to 10,000.",
    PRODUCT,
    (Label("kind", ("place_order", "change_order")),),
    moved_by="a saga in doubt",
)
SAGAS_OLDEST_SECONDS = Metric(
    "ordersys_sagas_oldest_age_seconds",
    Kind.GAUGE,
    "seconds",
    "The age of the oldest pending saga, 0 when there is none.",
    PRODUCT,
    moved_by="a saga in doubt: its stock stays held, and its order can't be changed, until it comes to its end",
)
SAGAS_SETTLED = Metric(
    "ordersys_sagas_settled_total",
    Kind.COUNTER,
    "sagas",
    "Answers of the Order Service to sagas: it has made the change (`completed`), has refused it for good"
    " (`compensated`), or nobody knows (`in_doubt`; the saga stays pending, and is asked for again).",
    PRODUCT,
    (Label("kind", ("place_order", "change_order")), Label("result", ("completed", "compensated", "in_doubt"))),
    moved_by="a saga in doubt (`in_doubt`)",
)
SWEEP_SETTLED = Metric(
    "ordersys_sweep_settled_total",
    Kind.COUNTER,
    "sagas",
    "Sagas that recovery brought to their end, since no call did.",
    PRODUCT,
    (Label("result", ("completed", "compensated")),),
    moved_by="a saga that was in doubt, or whose process was killed",
)
STOCK_UNITS = Metric(
    "ordersys_stock_units",
    Kind.GAUGE,
    "units",
    "Units of all products together: free (`available`), and held for orders and placements (`held`).",
    PRODUCT,
    (Label("state", ("available", "held")),),
)
STOCK_IMBALANCE_UNITS = Metric(
    "ordersys_stock_imbalance_units",
    Kind.GAUGE,
    "units",
    "Units held by products without those that orders and pending sagas hold, by an audit of all orders every half a"
    " minute: 0 unless stock was lost or sold twice, NaN where it is not known, such as of a million orders.",
    PRODUCT,
    moved_by="a bug, or a database that somebody has changed",
)

SPANS_DROPPED = Metric(
    "ordersys_spans_dropped_total",
    Kind.COUNTER,
    "spans",
    "Spans of traces that were not exported, for want of room or of a collector.",
    EVERY,
    moved_by="a collector of traces that is away or too slow",
)
BUILD_INFO = Metric(
    "ordersys_build_info",
    Kind.GAUGE,
    "1",
    "Always 1; the labels say which service this is, its release, and the Python it runs on.",
    EVERY,
    tuple(Label(name, source=Source.ITSELF) for name in ("service", "version", "python_version")),
)

# Written by the client library of Prometheus, on Linux.
_PROCESS = (
    Metric("process_cpu_seconds_total", Kind.COUNTER, "seconds", "Processor time of the process.", EVERY),
    Metric("process_resident_memory_bytes", Kind.GAUGE, "bytes", "Memory of the process that is in use.", EVERY),
    Metric("process_virtual_memory_bytes", Kind.GAUGE, "bytes", "Addresses the process has reserved.", EVERY),
    Metric("process_start_time_seconds", Kind.GAUGE, "seconds", "The start of the process, since 1970.", EVERY),
    Metric("process_open_fds", Kind.GAUGE, "descriptors", "Open file descriptors.", EVERY),
    Metric("process_max_fds", Kind.GAUGE, "descriptors", "The most file descriptors it may have open.", EVERY),
)

DECLARED = (
    SERVER_CALL_SECONDS,
    CLIENT_CALL_SECONDS,
    CALLS_IN_FLIGHT,
    CALLS_REFUSED,
    SERVING,
    LEADER,
    OUTBOX_EVENTS,
    OUTBOX_OLDEST_SECONDS,
    SENT_MESSAGES,
    PUBLISH_SECONDS,
    BATCH_ITEMS,
    BATCH_WAIT_SECONDS,
    COMMIT_SECONDS,
    DATABASE_WRITABLE,
    DATABASE_READERS,
    EVENT_AGE_SECONDS,
    PROCESS_SECONDS,
    CONSUMED_MESSAGES,
    REDELIVERED,
    INBOX_EVENTS,
    DEAD_LETTERS,
    DEAD_LETTERS_KEPT,
    QUEUE_MESSAGES,
    BROKER_CONNECTED,
    BROKER_BLOCKED,
    BROKER_RECONNECTS,
    SAGAS_PENDING,
    SAGAS_OLDEST_SECONDS,
    SAGAS_SETTLED,
    SWEEP_SETTLED,
    STOCK_UNITS,
    STOCK_IMBALANCE_UNITS,
    SPANS_DROPPED,
    BUILD_INFO,
)
"""The metrics of ours, in the order in which documents have them."""
TABLE = (*DECLARED, *_PROCESS)
"""All metrics a service exposes."""
