"""The Order Service as the Product Service sees it: creations share a call, every answer is definite or open.

Definite means for good: the same question could only ever get the same refusal, so what was reserved for it may
be released. Everything else, silence above all, leaves the outcome open.
"""

import asyncio
import json
import logging
from collections.abc import Sequence

import grpc
from google.rpc.status_pb2 import Status

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    CreateOrderRequest,
    CreateOrderResult,
    GetOrderRequest,
    UpdateOrderRequest,
)
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.contract.errors import Refused, refuse
from ordersys.runtime.batching import Batcher
from ordersys.runtime.identity import TRACEPARENT

_log = logging.getLogger(__name__)
_BATCH = 200
_STATUS_DETAILS = "grpc-status-details-bin"
_DEFINITE = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
}
_DEFINITE_NUMBERS = {code.value[0] for code in _DEFINITE}
# Every call is idempotent, so that a connection that breaks is no reason to leave an outcome open: within its
# timeout a call is made again. CANCELLED is how a grpc server that stops answers what it had not begun.
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
_OPTIONS = (
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRY}]})),
    # Back within a second after the Order Service is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A peer that vanished without a word is noticed.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Without calls it leaves before it is sent away (ORDERSYS_IDLE_SECONDS).
    ("grpc.client_idle_timeout_ms", 240_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


class OutcomeOpen(Refused):
    """No definite answer: the call may or may not have had its effect."""


class Orders:
    """A client of the Order Service. Each method raises Refused for a definite refusal, else OutcomeOpen."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub = OrderServiceStub(self._channel)
        self._creations: Batcher[CreateOrderRequest, Order] = Batcher(self._create, _BATCH)

    def create(self, request: CreateOrderRequest) -> "asyncio.Future[Order]":
        """Creates an order, together with whatever else is asked for while a call is under way."""
        return self._creations.submit(request)

    async def update(self, request: UpdateOrderRequest, traceparent: str) -> Order:
        """Changes an order."""
        metadata = ((TRACEPARENT, traceparent),)
        try:
            call = self._stub.UpdateOrder(request, timeout=self._timeout, wait_for_ready=True, metadata=metadata)
            return (await call).order
        except grpc.aio.AioRpcError as error:
            raise self._refused(error) from error

    async def get(self, order_id: str) -> Order:
        """Reads an order."""
        request = GetOrderRequest(order_id=order_id)
        try:
            return (await self._stub.GetOrder(request, timeout=self._timeout, wait_for_ready=True)).order
        except grpc.aio.AioRpcError as error:
            raise self._refused(error) from error

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def _create(self, requests: list[CreateOrderRequest]) -> Sequence[Order | Exception]:
        try:
            batch = BatchCreateOrdersRequest(requests=requests)
            answer = await self._stub.BatchCreateOrders(batch, timeout=self._timeout, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            refused = self._refused(error)
            if isinstance(refused, OutcomeOpen) or len(requests) == 1:
                return [refused] * len(requests)
            # One of them made the whole call wrong: alone, each gets its own answer.
            return [result for request in requests for result in await self._create([request])]
        return [_order(result) for result in answer.results]

    def _refused(self, error: grpc.aio.AioRpcError) -> Refused:
        if error.code() in _DEFINITE:
            return Refused(_status(error))
        _log.warning("the Order Service at %s gave no definite answer: %s", self._address, error.code().name)
        return _open()


def _order(result: CreateOrderResult) -> Order | Exception:
    if result.HasField("order"):
        return result.order
    status = result.status
    return Refused(status) if status.code in _DEFINITE_NUMBERS else _open()


def _status(error: grpc.aio.AioRpcError) -> Status:
    """The status with its details, as the other side sent it."""
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS and isinstance(value, bytes):
            return Status.FromString(value)
    return Status(code=error.code().value[0], message=error.details() or "")


def _open() -> OutcomeOpen:
    return OutcomeOpen(refuse(ErrorReason.OUTCOME_OPEN).status)
