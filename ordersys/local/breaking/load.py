"""Orders by the hundred, as clients place them; and a message that nobody can read."""

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import grpc

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.product.v1.product_service_pb2 import ItemQuantity, ListProductsRequest, PlaceOrderRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.contract import pagination
from ordersys.contract.addresses import Address, Addresses, channel_options
from ordersys.contract.events import EventMessage
from ordersys.contract.topology import publication
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.messages import of_event
from ordersys.runtime.rabbitmq.reconnecting import opened
from ordersys.runtime.rabbitmq.urls import BrokerUrls

PATIENCE_SECONDS = 60.0
"""Each order is sent again for so long while nobody answers: longer than anything stays broken."""
_CUSTOMERS = ("anna", "ben", "carla")
_PRODUCTS = 8  # those of which there is most, so that a burst sells none of them out
_CALLS = 8
_CALL_SECONDS = 5.0
_PAUSES = (0.1, 0.5)  # seconds
# The same request, with the same request_id, may succeed later; of the last nobody knows whether it has.
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
_POISON = b"\xff" * 16  # a tag of protobuf that has no end
T = TypeVar("T")


class Entrance(NamedTuple):
    """The Product Service, and whom it takes a caller for: both files are None where there are no identities."""

    address: Address | Addresses
    authorities: Path | None
    token: Path | None

    def channel(self) -> grpc.Channel:
        """A connection to it."""
        options = channel_options(self.address)
        target = self.address.target if isinstance(self.address, Addresses) else str(self.address)
        if self.authorities is None:
            return grpc.insecure_channel(target, options=options)
        trusted = grpc.ssl_channel_credentials(self.authorities.read_bytes())
        named = (*options, ("grpc.ssl_target_name_override", "product-service"))
        return grpc.secure_channel(target, trusted, options=named)

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of a call. Reads the token, which is renewed now and then. Raises OSError."""
        return () if self.token is None else (("authorization", f"Bearer {self.token.read_text('ascii').strip()}"),)


class Burst:
    """Orders that are placed as fast as they are taken. `run` blocks; the other members are for other threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._stopped = threading.Event()
        self._outcomes: Counter[str] = Counter()
        """`placed`, the name of the status of a refusal, or `not answered`."""

    @property
    def ended(self) -> int:
        """The number of orders that were placed, or were given up."""
        return self._outcomes.total()

    @property
    def outcomes(self) -> Mapping[str, int]:
        """The number of orders by the way they ended."""
        return dict(self._outcomes)

    def stop(self) -> None:
        """Gives up what is not placed yet."""
        self._stopped.set()

    def run(self, entrance: Entrance) -> None:
        """Places the orders, one item each, of customers of the demo. Raises OSError where files can't be read."""
        with entrance.channel() as channel:
            stub = ProductServiceStub(channel)
            products = self._answered(lambda seconds: _products(stub, entrance, seconds))
            if not isinstance(products, list) or not products:
                self._outcomes["not answered"] += self.count
                return
            items = itertools.cycle(products)
            requests = [_request(next(items)) for _ in range(self.count)]
            with ThreadPoolExecutor(_CALLS) as pool:
                for outcome in pool.map(lambda request: self._placed(stub, entrance, request), requests):
                    self._outcomes[outcome] += 1

    def _placed(self, stub: ProductServiceStub, entrance: Entrance, request: PlaceOrderRequest) -> str:
        answer = self._answered(lambda seconds: stub.PlaceOrder(request, metadata=entrance.metadata(), timeout=seconds))
        return answer if isinstance(answer, str) else "placed"

    def _answered(self, call: Callable[[float], T]) -> T | str:
        """The answer, the name of the status of a refusal, or `not answered`."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._stopped.is_set():
            try:
                return call(_CALL_SECONDS)
            except grpc.RpcError as error:
                if error.code() not in _PASSING:
                    return str(error.code().name)
            pause = random.uniform(*_PAUSES)  # noqa: S311 - no secret
            if time.monotonic() + pause > until:
                break
            self._stopped.wait(pause)
        return "not answered"


def _products(stub: ProductServiceStub, entrance: Entrance, seconds: float) -> list[str]:
    """The products of which there is most."""
    request = ListProductsRequest(page_size=pagination.MAXIMUM_SIZE)
    answer = stub.ListProducts(request, metadata=entrance.metadata(), timeout=seconds)
    most = sorted(answer.products, key=lambda product: -product.available)
    return [product.id for product in most[:_PRODUCTS]]


def _request(product: str) -> PlaceOrderRequest:
    customer = random.choice(_CUSTOMERS)  # noqa: S311 - no secret
    items = [ItemQuantity(product_id=product, quantity=1)]
    return PlaceOrderRequest(request_id=str(uuid.uuid4()), customer_id=customer, items=items)


async def poison(brokers: BrokerUrls, user: str) -> str:
    """Publishes a message in the place of an OrderCreated that nobody can read; its exchange.

    `user` is the one in the message, whom subscribers believe; empty where they believe everybody. Blocks for some
    seconds at most. Raises BrokerUnavailable.
    """
    to = publication(OrderCreated.DESCRIPTOR)
    event = EventMessage(
        event_id=f"poison-{uuid.uuid4()}",
        type=OrderCreated.DESCRIPTOR.full_name,
        source=to.publisher,
        subject="",
        time=time.time_ns() // 1000,
        traceparent="",
        body=_POISON,
    )
    async with opened(brokers, "break it") as session:
        if not all(await session.publish([of_event(event, to, user)])):
            raise BrokerUnavailable("RabbitMQ has not confirmed the message")
    return to.exchange
