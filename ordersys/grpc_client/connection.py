"""Calls to the services: the same request again, with growing pauses, while the answer is that it may help."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from ordersys.api.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogStub
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub

R = TypeVar("R", bound=Message)
_FIRST_PAUSE = 0.1
_STATUS_DETAILS = "grpc-status-details-bin"
_MOST_PAUSE = 2.0
# CANCELLED by the other side is how a grpc server that shuts down answers a call it had not begun.
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))


class Peer(NamedTuple):
    """A service as a person knows it."""

    name: str
    module: str
    address: str


class Failed(Exception):
    """A call that did not succeed: whom it went to, what was sent, and the status."""

    def __init__(self, peer: Peer, request: Message, status: Status) -> None:
        super().__init__(status.message)
        self.peer = peer
        self.request = request
        self.status = status


class Client:
    """The four services. `timeout` is the seconds a call may take, repeats included.

    A patient client also repeats calls to a service that does not answer at all.
    """

    def __init__(self, peers: tuple[Peer, Peer, Peer, Peer], timeout: float, patient: bool = False) -> None:
        self.timeout = timeout
        self._patient = patient
        self._peers = peers
        self._channels = [grpc.aio.insecure_channel(peer.address, options=_OPTIONS) for peer in peers]
        products, orders, *logs = self._channels
        self.products = ProductServiceStub(products)
        self.orders = OrderServiceStub(orders)
        self.logs = {number: NotificationLogStub(channel) for number, channel in enumerate(logs, 1)}
        self.letters = {number: DeadLetterServiceStub(channel) for number, channel in enumerate(logs, 1)}

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def product(self, call: Callable[..., Awaitable[R]], request: Message) -> R:
        """A call to the Product Service. Raises Failed."""
        return await self._repeat(self._peers[0], call, request)

    async def order(self, call: Callable[..., Awaitable[R]], request: Message) -> R:
        """A call to the Order Service. Raises Failed."""
        return await self._repeat(self._peers[1], call, request)

    async def notification(self, number: int, call: Callable[..., Awaitable[R]], request: Message) -> R:
        """A call to Notification Service 1 or 2. Raises Failed."""
        return await self._repeat(self._peers[1 + number], call, request)

    async def _repeat(self, peer: Peer, call: Callable[..., Awaitable[R]], request: Message) -> R:
        """Every changing call carries a request_id, so that repeating it is safe."""
        until = time.monotonic() + self.timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return await call(request, timeout=max(until - time.monotonic(), _FIRST_PAUSE))
            except grpc.aio.AioRpcError as error:
                status = status_of(error)
                wait = max(pause * random.uniform(0.5, 1.0), _retry_delay(status))  # noqa: S311 - no secret
                worth_it = error.code() in _PASSING and (self._patient or bool(status.details))
                if not worth_it or time.monotonic() + wait > until:
                    raise Failed(peer, request, status) from error
            await asyncio.sleep(wait)
            pause = min(pause * 2, _MOST_PAUSE)


def status_of(error: grpc.aio.AioRpcError) -> Status:
    """The status with its details where the service sent them."""
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS and isinstance(value, bytes):
            return Status.FromString(value)
    return Status(code=error.code().value[0], message=error.details() or error.code().name)


def _retry_delay(status: Status) -> float:
    for detail in status.details:
        retry = RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return 0.0
