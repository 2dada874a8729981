"""Calls to the services: the same request again, with jittered backoff, while the answer is that it may help."""

import asyncio
import json
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status

from ordersys.api.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogStub
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.contract.addresses import channel_options
from ordersys.grpc_client import traces
from ordersys.grpc_client.credentials import Credentials
from ordersys.grpc_client.demo.reconciliation import SILENT
from ordersys.grpc_client.peers import Peer, Peers

_UNKNOWN = Credentials()
_ONE_NOTIFICATION = ListNotificationsRequest(page_size=1)
R = TypeVar("R", bound=Message)
T = TypeVar("T")
_FIRST_PAUSE = 0.1
_MOST_PAUSE = 2.0
_HEALTH_SECONDS = 3.0
STRANGER = "is another service"
"""The health of what answers at the address of a service and does not serve it."""
# CANCELLED by the other side is how a grpc server that shuts down answers a call it had not begun.
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
# Of several processes each gets its part of the calls, and none while it says that it is not well.
_BALANCED = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))


class Waited(NamedTuple):
    """The time before a status: seconds of waiting, and the answer to an earlier try where the last one got none."""

    seconds: float = 0.0
    before: Status | None = None


_NOT_WAITED = Waited()


class Failed(Exception):
    """A call that did not succeed: whom it went to, what was sent, and the status.

    `again` is how the request is repeated, where it has a way of its own.
    """

    def __init__(
        self,
        peer: Peer,
        request: Message,
        status: Status,
        waited: Waited = _NOT_WAITED,
        again: str = "",
    ) -> None:
        super().__init__(status.message)
        self.peer = peer
        self.request = request
        self.status = status
        self.waited = waited
        self.again = again
        self.known_by = ""
        """The token that was shown, in words; empty where none was."""
        self.hint = ""
        """Something like what was asked for that exists."""


def new_request_id() -> str:
    """A UUID for a request that was never sent before (AIP-155)."""
    return str(uuid.uuid4())


class Patience:
    """The time a call may take, repeats included, and the jittered backoff between them."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._pause = _FIRST_PAUSE

    @property
    def left(self) -> float:
        """Seconds for the next try."""
        return max(self._until - time.monotonic(), _FIRST_PAUSE)

    async def pause(self, status: Status) -> bool:
        """Waits before another try; whether there is time for one."""
        wait = max(self._pause * random.uniform(0.5, 1.0), _retry_delay(status))  # noqa: S311 - no secret
        if time.monotonic() + wait > self._until:
            return False
        await asyncio.sleep(wait)
        self._pause = min(self._pause * 2, _MOST_PAUSE)
        return True


class Client:
    """The four services. `timeout` is the seconds a call may take, repeats included.

    A patient client also repeats calls to a service that does not answer at all.
    """

    def __init__(self, peers: Peers, timeout: float, patient: bool = False, known_as: Credentials = _UNKNOWN) -> None:
        self.timeout = timeout
        self.peers = peers
        self.cut_off: list[Message] = []
        """Requests that were under way when somebody interrupted them."""
        self._patient = patient
        self._credentials = known_as
        self._channels = [_channel(self._credentials, peer) for peer in peers]
        products, orders, *logs = self._channels
        self.products = ProductServiceStub(products)
        self.orders = OrderServiceStub(orders)
        self.logs = {number: NotificationLogStub(channel) for number, channel in enumerate(logs, 1)}
        self.letters = {number: DeadLetterServiceStub(channel) for number, channel in enumerate(logs, 1)}

    @property
    def customer(self) -> str:
        """The customer whose token is shown, as far as it says; empty else."""
        return self._credentials.token.customer if self._credentials.token else ""

    @property
    def known_by(self) -> str:
        """The token that is shown, in words; empty where none is."""
        return self._credentials.token.shown if self._credentials.token else ""

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def product(self, call: Callable[..., Awaitable[R]], request: Message) -> R:
        """A call to the Product Service. Raises Failed."""
        return await self._repeat(self.peers[0], call, request)

    async def order(self, call: Callable[..., Awaitable[R]], request: Message) -> R:
        """A call to the Order Service. Raises Failed."""
        return await self._repeat(self.peers[1], call, request)

    async def notification(self, number: int, call: Callable[..., Awaitable[R]], request: Message) -> R:
        """A call to Notification Service 1 or 2. Raises Failed."""
        return await self._repeat(self.peers[1 + number], call, request)

    async def health(self) -> dict[Peer, str]:
        """The health of each process: SERVING, NOT_SERVING or another word of grpc.health.v1, SILENT or STRANGER.

        By the service at its one address: a service of several processes is there once for each.
        """
        seconds = min(_HEALTH_SECONDS, self.timeout)
        asked = [
            (number, peer._replace(address=address))
            for number, peer in enumerate(self.peers)
            for address in peer.address.each
        ]
        states = await asyncio.gather(*(self._state(number, peer, seconds) for number, peer in asked))
        return {peer: state for (_, peer), state in zip(asked, states, strict=True)}

    async def _state(self, number: int, peer: Peer, seconds: float) -> str:
        """The health of one process of the service with that number, by a connection of its own if it has others."""
        if len(self.peers[number].address.each) == 1:
            return await _health(self._channels[number], _probe(number, self._channels[number], seconds), seconds)
        async with _channel(self._credentials, peer) as channel:
            return await _health(channel, _probe(number, channel, seconds), seconds)

    async def _repeat(self, peer: Peer, call: Callable[..., Awaitable[R]], request: Message) -> R:
        """Every changing call carries a request_id, so that repeating it is safe."""
        patience = Patience(self.timeout)
        before: Status | None = None
        metadata = traces.begun(os.environ)
        while True:
            try:
                return await call(request, timeout=patience.left, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                status = status_of(error)
                worth_it = error.code() in _PASSING and (self._patient or bool(status.details))
                if not worth_it or not await patience.pause(status):
                    failed = Failed(peer, request, status, Waited(self.timeout, before))
                    failed.known_by = self.known_by
                    raise failed from error
                before = status if status.details else before
            except asyncio.CancelledError:
                self.cut_off.append(request)
                raise


async def each(numbers: Iterable[int], ask: Callable[[int], Awaitable[T]]) -> dict[int, T | Failed]:
    """The answer of each of the notification services, by number: one that fails does not hinder the other."""

    async def answer(number: int) -> T | Failed:
        try:
            return await ask(number)
        except Failed as failed:
            return failed

    async with asyncio.TaskGroup() as group:
        tasks = {number: group.create_task(answer(number)) for number in numbers}
    return {number: task.result() for number, task in tasks.items()}


def status_of(error: grpc.aio.AioRpcError) -> Status:
    """The status with its details, where the service sent some that agree with it."""
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))  # its error has all that a call is asked for
    except (DecodeError, ValueError):
        status = None
    code = error.code()
    return Status(code=code.value[0], message=error.details() or code.name) if status is None else status


def may_help(status: Status) -> bool:
    """True where the service has said that the same request may succeed later (google.rpc.RetryInfo)."""
    return any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)


def _channel(known: Credentials, peer: Peer) -> grpc.aio.Channel:
    balanced = [("grpc.service_config", _BALANCED)] if len(peer.address.each) > 1 else []
    options = (*_OPTIONS, *balanced, *channel_options(peer.address))
    return known.channel(peer.address.target, peer.module.replace("_", "-"), options)


def _probe(number: int, channel: grpc.aio.Channel, seconds: float) -> Awaitable[Message]:
    """A call that only the service with that number knows."""
    calls: Sequence[Callable[[], Awaitable[Message]]] = (
        lambda: ProductServiceStub(channel).ListProducts(ListProductsRequest(page_size=1), timeout=seconds),
        lambda: OrderServiceStub(channel).ListOrders(ListOrdersRequest(page_size=1), timeout=seconds),
    )
    if number < len(calls):
        return calls[number]()
    return NotificationLogStub(channel).ListNotifications(_ONE_NOTIFICATION, timeout=seconds)


async def _health(channel: grpc.aio.Channel, probe: Awaitable[Message], seconds: float) -> str:
    """Health as the service tells it; `probe` is a call that only the right service knows."""
    try:
        await probe
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return STRANGER
    try:
        answer = await HealthStub(channel).Check(HealthCheckRequest(), timeout=seconds)  # type: ignore[attr-defined]
    except grpc.aio.AioRpcError:
        return SILENT
    return HealthCheckResponse.ServingStatus.Name(answer.status)


def _retry_delay(status: Status) -> float:
    for detail in status.details:
        retry = RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return 0.0
