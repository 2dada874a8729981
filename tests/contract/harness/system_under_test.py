"""The system under test: clients of the services that are judged, and an event tap at their broker."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.type.money_pb2 import Money

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLettersRequest,
    ListDeadLettersRequest,
)
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_pb2 import Order, OrderItem
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, GetOrderRequest
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    CreateProductRequest,
    GetProductRequest,
    ItemQuantity,
    PlaceOrderRequest,
)
from ordersys.contract.addresses import parse_list
from tests.contract.harness.call_lines import line
from tests.contract.harness.client import ORDER, PRODUCT, Answer, ContractClient
from tests.contract.harness.crashes import Crasher, Lifeline
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.identity import Identity

T = TypeVar("T")
STARTED_SECONDS = 60.0  # docs/implement.md, "say SERVING within 60 s"
_POLL = 0.02
PRICE = Money(currency_code="EUR", units=7, nanos=990_000_000)


@dataclass
class SystemUnderTest:
    """The services that are judged, by role, and how long a condition may take."""

    addresses: dict[str, str]
    amqp_url: str | None = field(repr=False)
    """The URL of their broker; it may hold a password, which no counterexample shows."""
    patience: float
    crasher: Crasher | None = field(default=None, repr=False)
    """Whoever can kill the services, where that is allowed."""
    identity: Identity | None = field(default=None, repr=False)
    """Whoever the suite calls as, where the services let only those in who are known."""

    def __post_init__(self) -> None:
        """Returns when everything answers. Raises NotReachable."""
        self.client = ContractClient(self.addresses, self.patience, self.identity)
        self.event_tap = EventTap(self.amqp_url, self.patience) if self.amqp_url else None

    def close(self) -> None:
        """Ends all connections."""
        self.client.close()
        if self.event_tap:
            self.event_tap.close()

    def crash(self, *roles: str, ended: Callable[[], None] = lambda: None) -> None:
        """Kills services as `kill -9` does, whatever they are doing; returns when they serve again, also each other.

        Calls `ended` when all of them have ended.
        """
        assert self.crasher is not None
        lifelines = [Lifeline(role, each) for role in roles for each in parse_list(self.addresses[role]).each]
        self.crasher.crash(roles)
        for lifeline in lifelines:
            lifeline.wait_cut(self.patience)
        ended()
        for role in roles:
            self._wait_restarted(role)
        if {PRODUCT, ORDER} <= self.addresses.keys():  # they have to find each other again
            product = self.new_product()
            self.eventually(lambda: self.call(placing({product: 1})).response)

    def _wait_restarted(self, role: str) -> None:
        self.eventually(
            lambda: self.client.serving(role),
            STARTED_SECONDS,
            f"the {role} at {self.addresses[role]} was killed, and is not SERVING again: its data stand in its way, or"
            " the command of --restart does not start it again",
        )

    def call(self, request: Message, role: str | None = None) -> Answer:
        """The answer to a request."""
        return self.client.call(request, role)

    def call_as(self, token: str, request: Message, role: str | None = None) -> Answer:
        """The answer to a request of the one whose token that is; of nobody for an empty one."""
        return self.client.call(request, role, token=token)

    def ok(self, request: Message, role: str | None = None) -> Any:
        """The response to a request that has to succeed."""
        answer = self.call(request, role)
        assert answer.response is not None, f"{request.DESCRIPTOR.name} was refused: {answer}"
        return answer.response

    def eventually(self, look: Callable[[], T | None], seconds: float = 0.0, failure: str = "") -> T:
        """The first true answer of `look`; fails when none comes within the patience there is, or that many seconds.

        `failure` says what that means, where the answer alone would not.
        """
        patience, before = max(self.patience, seconds), self.client.log.made
        until = time.monotonic() + patience
        while not (answer := look()):
            if time.monotonic() > until:
                said = failure or repr(answer)
                raise AssertionError(f"not so within {patience:.0f} s: {said}{self._asked_since(before)}")
            time.sleep(_POLL)
        return answer

    def _asked_since(self, before: int) -> str:
        """The last call since then, and its answer: what was waited for is to be found there."""
        made = self.client.log.since(before)
        times = self.client.log.made - before
        return f"\nasked {times} times, at last the {made[-1].role}: {line(made[-1])}" if made else ""

    def new_product(self, available: int = 1_000_000) -> str:
        """The id of a new product."""
        product = Product(id=f"p-{uuid.uuid4().hex[:16]}", name="A product", unit_price=PRICE, available=available)
        return str(self.ok(CreateProductRequest(request_id=new_id(), product=product)).product.id)

    def product(self, product_id: str) -> Product:
        """A product as it is now."""
        product: Product = self.ok(GetProductRequest(product_id=product_id)).product
        return product

    def stock(self, product_id: str) -> tuple[int, int]:
        """(available, held) of a product."""
        product = self.product(product_id)
        return product.available, product.held

    def place(self, wanted: Mapping[str, int]) -> Order:
        """A new order, placed with the Product Service."""
        order: Order = self.ok(placing(wanted)).order
        return order

    def create(self) -> Order:
        """A new order, created with the Order Service."""
        order: Order = self.ok(creating()).order
        return order

    def order(self, order_id: str) -> Order:
        """An order as it is now."""
        order: Order = self.ok(GetOrderRequest(order_id=order_id)).order
        return order

    def notifications(self, role: str, order_id: str) -> list[Notification]:
        """The records of a notification service about an order."""
        request = ListNotificationsRequest(order_id=order_id, page_size=500)
        return list(self.ok(request, role).notifications)

    def dead_letters(self, role: str) -> list[DeadLetter]:
        """The dead letters of a notification service, the oldest first."""
        letters: list[DeadLetter] = []
        request = ListDeadLettersRequest(page_size=500)
        while True:
            page = self.ok(request, role)
            letters += page.dead_letters
            request.page_token = page.next_page_token
            if not request.page_token:
                return letters

    def dead_letter(self, role: str, event_id: str) -> DeadLetter | None:
        """A dead letter by the id of its event, None when it is none."""
        return next((letter for letter in self.dead_letters(role) if letter.event_id == event_id), None)

    def discard_dead_letter(self, role: str, fits: Callable[[DeadLetter], bool]) -> DeadLetter:
        """The dead letter that fits, as soon as there is one; discarded, so that the list stays short."""
        discarded = self.eventually(lambda: next((letter for letter in self.dead_letters(role) if fits(letter)), None))
        self.ok(DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=[discarded.id]), role)
        return discarded


def new_id() -> str:
    """A UUID nobody has used."""
    return str(uuid.uuid4())


def quantities(wanted: Mapping[str, int]) -> Iterable[ItemQuantity]:
    """Items, as the Product Service takes them."""
    return [ItemQuantity(product_id=product_id, quantity=units) for product_id, units in wanted.items()]


def priced(wanted: Mapping[str, int]) -> Iterable[OrderItem]:
    """Items, as the Order Service takes them."""
    return [OrderItem(product_id=p, quantity=units, unit_price=PRICE) for p, units in wanted.items()]


def placing(wanted: Mapping[str, int], customer_id: str = "anna") -> PlaceOrderRequest:
    """A request to the Product Service for an order."""
    return PlaceOrderRequest(request_id=new_id(), customer_id=customer_id, items=quantities(wanted))


def creating(wanted: Mapping[str, int] | None = None, customer_id: str = "anna") -> CreateOrderRequest:
    """A request to the Order Service for an order."""
    items = priced(wanted or {"lamp": 2})
    return CreateOrderRequest(request_id=new_id(), order_id=new_id(), customer_id=customer_id, items=items)
