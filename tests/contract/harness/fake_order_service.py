"""A fake Order Service, so that a Product Service can be judged alone: it answers well, or as a law wants it.

What it keeps is small and plain: it is what the saga of the Product Service is held against.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import grpc
from google.rpc.status_pb2 import Status

from ordersys.api.order.v1 import order_service_pb2 as api
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from ordersys.contract.errors import StatusError, order_already_exists, order_not_found, version_mismatch
from tests.contract.harness.sample_orders import change, created

_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
Context = grpc.ServicerContext
R = TypeVar("R")


class Behaviour:
    """The fake's behaviour at calls that change something; this one answers well.

    A client that repeats a call which has failed would do so until its deadline, a second for each example. It is told
    not to, unless `may_retry` (gRPC's retry design, A6: a server pushes back with a negative delay).
    """

    may_retry = False

    def before(self, request: Any) -> None:
        """Before anything is done. May raise StatusError, or take its time."""

    def after(self, request: Any) -> None:
        """Called when a change is done, before it is answered. May raise StatusError: then the reply is lost."""


class Slow(Behaviour):
    """Takes its time before it does anything."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def before(self, request: Any) -> None:
        time.sleep(self._seconds)


class Unavailable(Behaviour):
    """Does nothing, and says so."""

    def before(self, request: Any) -> None:
        raise StatusError(Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="not now"))


class LosesReplies(Behaviour):
    """Does it, and the reply does not arrive."""

    def __init__(self, may_retry: bool = False) -> None:
        self.may_retry = may_retry

    def after(self, request: Any) -> None:
        raise StatusError(Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="connection reset"))


class Refuses(Behaviour):
    """Refuses changes."""

    def __init__(self, refused: StatusError) -> None:
        self._refused = refused

    def before(self, request: Any) -> None:
        raise self._refused


class FakeOrderService(OrderServiceServicer):
    """An Order Service in memory, listening until it is closed."""

    def __init__(self, address: str) -> None:
        self._lock = threading.Lock()
        self._behaviour = Behaviour()
        self._answers: dict[str, Any] = {}
        self.orders: dict[str, Order] = {}
        self.changes: list[Any] = []
        """Every change it was asked for that had an effect, in order."""
        self.asked: list[Any] = []
        """Every request for a change that came, repeats among them."""
        self._server = grpc.server(ThreadPoolExecutor(64, "fake-order-service"), options=[("grpc.so_reuseport", 0)])
        add_OrderServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(address)
        self.address = f"{address.rpartition(':')[0]}:{port}"
        self._server.start()

    @contextmanager
    def answering(self, behaviour: Behaviour) -> Iterator[None]:
        """Answers in this manner for a while."""
        self._behaviour = behaviour
        try:
            yield
        finally:
            self._behaviour = Behaviour()

    def forget(self) -> None:
        """Forgets every request_id, as an Order Service may that was asked longer ago than it remembers."""
        with self._lock:
            self._answers.clear()

    def close(self) -> None:
        """Stops listening."""
        self._server.stop(None).wait()

    def CreateOrder(self, request: api.CreateOrderRequest, context: Context) -> api.CreateOrderResponse:
        return self._answer(request, context, lambda: api.CreateOrderResponse(order=self._create(request)))

    def BatchCreateOrders(
        self, request: api.BatchCreateOrdersRequest, context: Context
    ) -> api.BatchCreateOrdersResponse:
        return self._answer(request, context, lambda: api.BatchCreateOrdersResponse(results=self._create_all(request)))

    def UpdateOrder(self, request: api.UpdateOrderRequest, context: Context) -> api.UpdateOrderResponse:
        return self._answer(request, context, lambda: api.UpdateOrderResponse(order=self._update(request)))

    def GetOrder(self, request: api.GetOrderRequest, context: Context) -> api.GetOrderResponse:
        return self._answer(request, context, lambda: api.GetOrderResponse(order=self._get(request.order_id)))

    def ListOrders(self, request: api.ListOrdersRequest, context: Context) -> api.ListOrdersResponse:
        return self._answer(request, context, lambda: api.ListOrdersResponse(orders=self.orders.values()))

    def _answer(self, request: Any, context: Context, act: Callable[[], R]) -> R:
        behaviour = self._behaviour if _changes(request) else Behaviour()
        try:
            behaviour.before(request)
            with self._lock:
                response = act()
            behaviour.after(request)
        except StatusError as refused:
            _abort(context, refused.status, behaviour.may_retry)
        else:
            return response

    def _once(self, request: Any, act: Callable[[], Order]) -> Order:
        """A request_id has one effect, whatever is asked under it (AIP-155)."""
        self.asked.append(request)
        if request.request_id not in self._answers:
            self._answers[request.request_id] = act()
            self.changes.append(request)
        order: Order = self._answers[request.request_id]
        return order

    def _create_all(self, request: api.BatchCreateOrdersRequest) -> list[api.CreateOrderResult]:
        return [self._result(creation) for creation in request.requests]

    def _result(self, request: api.CreateOrderRequest) -> api.CreateOrderResult:
        try:
            return api.CreateOrderResult(order=self._create(request))
        except StatusError as refused:
            return api.CreateOrderResult(status=refused.status)

    def _create(self, request: api.CreateOrderRequest) -> Order:
        return self._once(request, lambda: self._created(request))

    def _created(self, request: api.CreateOrderRequest) -> Order:
        if request.order_id in self.orders:
            raise order_already_exists(request.order_id)
        return self._keep(created(request))

    def _update(self, request: api.UpdateOrderRequest) -> Order:
        return self._once(request, lambda: self._keep(self._changed(request)))

    def _changed(self, request: api.UpdateOrderRequest) -> Order:
        order = Order()
        order.CopyFrom(self._get(request.order_id))
        if request.HasField("expected_version") and request.expected_version != order.version:
            raise version_mismatch(order.id, order.version)
        change(order, request)
        return order

    def _get(self, order_id: str) -> Order:
        if order_id not in self.orders:
            raise order_not_found(order_id)
        return self.orders[order_id]

    def _keep(self, order: Order) -> Order:
        self.orders[order.id] = order
        return order


def _changes(request: Any) -> bool:
    return not isinstance(request, api.GetOrderRequest | api.ListOrdersRequest)


def _abort(context: Context, status: Status, may_retry: bool) -> NoReturn:
    pushed_back = () if may_retry else (("grpc-retry-pushback-ms", "-1"),)
    context.set_trailing_metadata(((_DETAILS, status.SerializeToString()), *pushed_back))
    context.abort(_CODES[status.code], status.message)
    raise AssertionError("abort raises")
