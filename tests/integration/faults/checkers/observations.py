"""The observations of a round, and the findings about them. Pure.

Every order is placed for a customer of its own, so that whoever it was asked by can be told from the order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from google.protobuf.message import Message

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.contract.events import Event
from tests.integration.faults.workload.history import Operation, Outcome

CREATED, TOPIC = "orders.created", "orders.events"


class Kind(Enum):
    """The kinds of findings."""

    LOST = "lost"
    DUPLICATED = "duplicated_effects"
    OVERSOLD = "oversold"
    ORPHAN = "orphans"
    UNRECOVERED = "unrecovered"


class Finding(NamedTuple):
    """Something that must not be, in a sentence."""

    kind: Kind
    text: str


class Stock(NamedTuple):
    """The units of a product."""

    available: int
    held: int


class Lease(NamedTuple):
    """A lease taken, renewed, or given back (`holder` is empty); seconds since 1970 by the clock of the database."""

    service: str
    holder: str
    noted: float
    until: float


@dataclass(frozen=True)
class Observations:
    """The operations of a round, the state at its end, and the events published."""

    operations: Sequence[Operation]
    orders: Sequence[Order] = ()
    """Every order of the round, as it is at the end."""
    stock: Mapping[str, Stock] = field(default_factory=dict)
    """Every product of the round that is there at the end."""
    received: Mapping[str, Sequence[Event]] = field(default_factory=dict)
    """The events from each exchange, in order."""
    recorded: Mapping[str, Sequence[Notification]] = field(default_factory=dict)
    """The records of each consumer, in order."""
    missed_before: Mapping[str, int] = field(default_factory=dict)
    """By consumer, or exchange: what happened before that time (microseconds since 1970) may not have come from it."""
    left: Mapping[str, int] = field(default_factory=dict)
    """The amounts of unfinished work at the end, by name."""
    leases: Sequence[Lease] = ()
    """The changes of the leases, in order; none where the state is in files."""
    deadlocks: Sequence[str] = ()
    """The lines about deadlocks in the logs of the database's servers."""
    may_overtake: bool = False
    """True where brokers refuse events, one of which may come after the next of its order."""

    def asked(self, *calls: str) -> Iterator[Operation]:
        """The operations of these calls."""
        return (operation for operation in self.operations if operation.call in calls)

    @cached_property
    def by_id(self) -> dict[str, Order]:
        """The orders at the end."""
        return {order.id: order for order in self.orders}


def placed(operation: Operation) -> list[Any]:
    """The placements an operation asks for: one, or those of a batch; each names its customer."""
    return list(operation.request.requests) if operation.call == "BatchCreateOrders" else [operation.request]


def answered_orders(operation: Operation) -> list[Order]:
    """The orders an operation has written, as each of its answers has them."""
    responses = [attempt.answer.response for attempt in operation.tries if attempt.outcome is Outcome.OK]
    return [order for response in responses for order in _orders_in(response)]


def _orders_in(response: Message) -> list[Any]:
    names = response.DESCRIPTOR.fields_by_name
    if "results" in names:
        return [result.order for result in response.results if result.HasField("order")]  # type: ignore[attr-defined]
    return [response.order] if "order" in names else []  # type: ignore[attr-defined]
