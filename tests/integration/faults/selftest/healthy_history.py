"""A healthy history: a round in which all is well, made without a system; the self-tests plant violations in it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, OrderUpdated, Shortage
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.product.v1 import product_service_pb2 as api
from ordersys.contract.errors import out_of_stock
from ordersys.contract.events import Event
from ordersys.contract.times import timestamp
from tests.contract.harness.client import Answer
from tests.integration.api import quantities
from tests.integration.faults.checkers.observations import CREATED, TOPIC, Lease, Observations, Stock
from tests.integration.faults.checkers.records import EXCHANGES
from tests.integration.faults.workload.history import Operation, Try
from tests.integration.faults.workload.requests import creating, placing

UNAVAILABLE = Answer(grpc.StatusCode.UNAVAILABLE, None, Status(code=14))
FIRST = 10
LEASES = (
    Lease("order_service", "a", 1.0, 11.0),
    Lease("product_service", "z", 2.0, 12.0),
    Lease("order_service", "a", 4.0, 14.0),
    Lease("order_service", "", 5.0, 5.0),
    Lease("order_service", "b", 6.0, 16.0),
    Lease("order_service", "a", 17.0, 27.0),
)
"""Renewed, given back, taken, and taken again when it was over."""


def ok(response: Message) -> Answer:
    """A success."""
    return Answer(grpc.StatusCode.OK, response, Status())


@dataclass
class HealthyHistory:
    """One product called lamp and one called scarce-lamp, and what happens to them."""

    operations: list[Operation] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    stock: dict[str, Stock] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    _moment: int = 0

    def __post_init__(self) -> None:
        for product in ("lamp", "scarce-lamp"):
            request = creating("c", product, FIRST)
            self.ask(request, ok(api.CreateProductResponse(product=request.product)))
            self.stock[product] = Stock(FIRST, 0)

    def ask(self, request: Any, *answers: Answer) -> Operation:
        """Somebody asks, and is answered; more than once when there are more answers."""
        self._moment += 1
        tries = [Try(self._moment, self._moment + 0.5, answer) for answer in answers]
        self.operations.append(Operation(len(self.operations), 0, request, tries))
        return self.operations[-1]

    def repeat(self, answer: Answer) -> None:
        """The last one asks again."""
        self._moment += 1
        self.operations[-1].tries.append(Try(self._moment, self._moment + 0.5, answer))

    def place(self, customer: str, units: int, product: str = "lamp", *answers: Answer) -> Order:
        """An order is placed; answered so, or as it should be."""
        items = [OrderItem(product_id=product, quantity=units)]
        order = Order(id=f"order-{customer}", customer_id=customer, items=items, version=1)
        order.state = OrderState.ORDER_STATE_PLACED
        self._move(product, units)
        self._write(order, OrderCreated(order=order))
        request = placing("r", customer, {product: units})
        self.ask(request, *(answers or [ok(api.PlaceOrderResponse(order=order))]))
        return order

    def refuse(self, customer: str) -> Operation:
        """More is asked for than there is."""
        shortage = Shortage(product_id="lamp", asked=99, available=FIRST)
        message = OrderRejected(order_id=f"order-{customer}", customer_id=customer, shortages=[shortage])
        message.reject_time.CopyFrom(timestamp(self._moment))
        self._tell(message, f"order-{customer}", 0)
        status = out_of_stock([shortage]).status
        refused = Answer(grpc.StatusCode.FAILED_PRECONDITION, None, status)
        return self.ask(placing("r", customer, {"lamp": 99}), refused)

    def change(self, order: Order, units: int, *answers: Answer) -> Order:
        """An order gets so many lamps instead."""
        after = Order()
        after.CopyFrom(order)
        self._move("lamp", units - order.items[0].quantity)
        after.items[0].quantity = units
        after.version += 1
        self._write(after, OrderUpdated(order=after, previous_state=order.state, changed_fields=["items"]))
        items = api.ItemQuantities(items=quantities({"lamp": units}))
        request = api.UpdateOrderRequest(request_id="r", order_id=order.id, items=items)
        self.ask(request, *(answers or [ok(api.UpdateOrderResponse(order=after))]))
        return after

    def cancel(self, order: Order, *answers: Answer) -> Order:
        """An order is cancelled."""
        after = Order()
        after.CopyFrom(order)
        after.state = OrderState.ORDER_STATE_CANCELLED
        after.version += 1
        self._move(order.items[0].product_id, -order.items[0].quantity)
        self._write(after, OrderUpdated(order=after, previous_state=order.state, changed_fields=["state"]))
        request = api.CancelOrderRequest(request_id="r", order_id=order.id)
        self.ask(request, *(answers or [ok(api.CancelOrderResponse(order=after))]))
        return after

    def adjust(self, delta: int, *answers: Answer) -> None:
        """Lamps are delivered."""
        self.stock["lamp"] = self.stock["lamp"]._replace(available=self.stock["lamp"].available + delta)
        request = api.AdjustStockRequest(request_id="r", product_id="lamp", delta=delta)
        self.ask(request, *(answers or [ok(api.AdjustStockResponse())]))

    def observations(self, **spoilt: Any) -> Observations:
        """The observations at the end, except those that are replaced."""
        created = [event for event in self.events if event.version == 1]
        received = {CREATED: created, TOPIC: self.events}
        recorded = {consumer: list(_records(received[exchange])) for consumer, exchange in EXCHANGES.items()}
        sound = {
            "orders": list(self.orders.values()),
            "stock": dict(self.stock),
            "received": received,
            "recorded": recorded,
            "leases": LEASES,
        }
        return Observations(self.operations, **{**sound, **spoilt})

    def _move(self, product: str, units: int) -> None:
        available, held = self.stock[product]
        self.stock[product] = Stock(available - units, held + units)

    def _write(self, order: Order, message: Any) -> None:
        self.orders[order.id] = order
        order.update_time.CopyFrom(timestamp(self._moment))
        message.order.CopyFrom(order)
        self._tell(message, order.id, order.version)

    def _tell(self, message: Any, order_id: str, version: int) -> None:
        body = message.SerializeToString()
        name = message.DESCRIPTOR.full_name
        self.events.append(Event(f"{order_id}.{version}", name, order_id, version, message, body))


def healthy_history() -> HealthyHistory:
    """Some of everything, all of it well; some of it open."""
    history = HealthyHistory()
    anna = history.place("anna", 2)
    history.change(anna, 3)
    bert = history.place("bert", 1, "scarce-lamp")
    history.cancel(bert)
    history.refuse("carl")
    history.adjust(5)
    dora = history.place("dora", 1, "lamp", UNAVAILABLE)
    history.repeat(ok(api.PlaceOrderResponse(order=dora)))
    emil = history.place("emil", 1, "lamp", UNAVAILABLE)
    history.operations[-1].abandoned = True
    history.cancel(emil, UNAVAILABLE)
    history.operations[-1].abandoned = True
    return history


def _records(events: Iterable[Event]) -> Iterable[Notification]:
    for sequence, event in enumerate(events, 1):
        record = Notification(
            sequence=sequence, event_id=event.event_id, order_id=event.order_id, version=event.version
        )
        record.event.Pack(event.message)
        yield record
