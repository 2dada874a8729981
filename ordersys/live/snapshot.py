"""The view model of the page: everything it shows, as one document made of facts. Pure.

A document has sections, so that only those that have changed go to the browser. Whatever others wrote – customers,
texts of events, contents of dead letters – is plain text in it; the page never takes it for markup.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, DeadLetterReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.contract.topology import Subscription
from ordersys.live.exposition import Metrics
from ordersys.live.graph import Graph
from ordersys.live.ledger import Heard, Ledger
from ordersys.live.reconciliation import Check, Stock, overall
from ordersys.live.records import state

_REASON = "DEAD_LETTER_REASON_"
_NANOS_OF_CENT = 10_000_000
Document = Mapping[str, Any]


class Process(NamedTuple):
    """A process of a service: its address, and what it says of its health."""

    name: str
    """As in the contract: order-service."""
    address: str
    health: str
    """A word of grpc.health.v1, or a sentence where it does not answer."""
    since: int
    """When that began, in milliseconds since 1970."""

    @property
    def is_well(self) -> bool:
        """True where it serves."""
        return self.health == "SERVING"


class Depth(NamedTuple):
    """A queue: the messages that are ready in it, and its consumers."""

    messages: int
    consumers: int


@dataclass(frozen=True)
class Broker:
    """The broker as a passive declaration of each queue shows it."""

    state: str = "unknown"
    """`up`, `away`, or `unknown` where nobody said how to reach it, or it refuses to tell."""
    reason: str = ""
    depths: Mapping[str, Depth] = field(default_factory=dict)


class Letters(NamedTuple):
    """The dead letters of a subscriber at a moment (milliseconds since 1970); `has_more` beyond those."""

    letters: Sequence[DeadLetter]
    has_more: bool
    listed: int


class Rate(NamedTuple):
    """The calls of a method a second."""

    service: str
    method: str
    rate: float


@dataclass
class Facts:
    """Everything that the sources have read; they replace values, and never change one in place."""

    graph: Graph
    subscribed: Sequence[Subscription]
    ledger: Ledger
    command: str
    """The beginning of a command of the client that reaches this system."""
    processes: Mapping[tuple[str, str], Process] = field(default_factory=dict)
    broker: Broker = field(default_factory=Broker)
    orders: Sequence[Order] | None = None
    is_all: bool = False
    stock: Mapping[str, Stock] | None = None
    letters: Mapping[str, Letters] = field(default_factory=dict)
    metrics: Mapping[str, Metrics] = field(default_factory=dict)
    """By process."""
    calls: Sequence[Rate] = ()
    troubles: Mapping[str, str] = field(default_factory=dict)
    """The sources that can't be read, by name, each with the reason."""
    checks: Sequence[Check] = ()


def document(facts: Facts, second: int) -> Document:
    """The view model, by section. `second` is the one that is under way, on the clock of the ledger's rates."""
    return {
        "graph": _graph(facts),
        "services": [_process(process) for process in facts.processes.values()],
        "broker": _broker(facts.broker),
        "rates": _rates(facts, second),
        "outboxes": _outboxes(facts.metrics),
        "orders": None if facts.orders is None else [_order(facts.ledger, order) for order in facts.orders],
        "events": [_event(facts.ledger, heard) for heard in facts.ledger.newest()],
        "letters": [_letters(facts, consumer, letters) for consumer, letters in facts.letters.items()],
        "checks": {"verdict": overall(facts.checks), "checks": [check._asdict() for check in facts.checks]},
        "troubles": [{"source": source, "reason": reason} for source, reason in facts.troubles.items()],
    }


def order_document(ledger: Ledger, order: Order, heard: Sequence[Heard]) -> Document:
    """An order with its items and all that was recorded of it."""
    items = [
        {"product": item.product_id, "quantity": item.quantity, "price": _amount(item.unit_price)}
        for item in order.items
    ]
    return {**_order(ledger, order), "items": items, "events": [_event(ledger, each) for each in heard]}


def _graph(facts: Facts) -> Document:
    return {
        "nodes": [node._asdict() for node in facts.graph.nodes],
        "edges": [edge._asdict() for edge in facts.graph.edges],
        "consumers": {subscription.queue: subscription.consumer for subscription in facts.subscribed},
        "command": facts.command,
    }


def _process(process: Process) -> Document:
    return {**process._asdict(), "well": process.is_well}


def _broker(broker: Broker) -> Document:
    depths = {queue: depth._asdict() for queue, depth in broker.depths.items()}
    return {"state": broker.state, "reason": broker.reason, "queues": depths}


def _rates(facts: Facts, second: int) -> Document:
    """Records a second by subscriber and event; calls a second where processes tell their metrics."""
    ledger = facts.ledger
    return {
        "records": {
            subscription.consumer: {
                kind.rpartition(".")[2]: round(ledger.rate(subscription.consumer, [kind], second), 1)
                for kind in subscription.handlers
            }
            for subscription in facts.subscribed
        },
        "history": ledger.history(ledger.source, second),
        "calls": [rate._asdict() for rate in facts.calls],
    }


def _outboxes(metrics: Mapping[str, Metrics]) -> Document:
    """By process, where it has one and tells of it."""
    return {
        process: {"events": int(told_by.outbox), "age": round(told_by.outbox_age or 0.0, 1)}
        for process, told_by in metrics.items()
        if told_by.outbox is not None
    }


def _order(ledger: Ledger, order: Order) -> Document:
    return {
        "id": order.id,
        "customer": order.customer_id,
        "state": state(order),
        "version": order.version,
        "units": sum(item.quantity for item in order.items),
        "total": _amount(order.total),
        "created": order.create_time.ToMilliseconds(),
        "updated": order.update_time.ToMilliseconds(),
        "heard": ledger.heard_of(order),
    }


def _event(ledger: Ledger, heard: Heard) -> Document:
    record = heard.record
    return {
        "id": record.event_id,
        "kind": record.kind.rpartition(".")[2],
        "order": record.order_id,
        "version": record.version,
        "customer": record.customer,
        "text": record.text,
        "late": record.is_late,
        "heard": dict(heard.by),
        "missing": sorted(ledger.missing(heard)),
    }


def _letters(facts: Facts, consumer: str, letters: Letters) -> Document:
    return {
        "consumer": consumer,
        "listed": letters.listed,
        "more": letters.has_more,
        "letters": [_letter(facts.command, letter) for letter in letters.letters],
    }


def _letter(command: str, letter: DeadLetter) -> Document:
    number = letter.reason
    known = number in DeadLetterReason.values()
    return {
        "id": letter.id,
        "event": letter.event_id,
        "kind": letter.type.rpartition(".")[2],
        "reason": DeadLetterReason.Name(number).removeprefix(_REASON).lower() if known else str(number),
        "obstacle": letter.obstacle,
        "time": letter.dead_letter_time.ToMilliseconds() if letter.HasField("dead_letter_time") else None,
        "size": letter.size_bytes,
        # An id is a digest, which needs no quoting; one that is none goes into no command.
        "replay": f"{command} dead-letters replay {letter.id}" if letter.id.isalnum() else "",
    }


def _amount(money: Any) -> str:
    """An amount with two decimals, or as many as it has."""
    cents, rest = divmod(money.nanos, _NANOS_OF_CENT)
    return f"{money.units:,}.{cents:02d}" if not rest else f"{money.units:,}.{money.nanos:09d}".rstrip("0")
