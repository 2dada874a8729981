"""A fake Order Service, so that a Product Service can be judged alone: it answers well, or as a law wants it.

What it keeps is small and plain: it is what the saga of the Product Service is held against. It takes no request that
breaks a rule of the contract, and none under the request_id of another.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn, TypeVar

import grpc
from google.rpc.status_pb2 import Status

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1 import order_service_pb2 as api
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from ordersys.contract.errors import (
    StatusError,
    invalid,
    order_already_exists,
    order_not_found,
    status_error,
    version_mismatch,
)
from ordersys.contract.validation import violations
from tests.contract.harness.normal_form import normal
from tests.contract.harness.sample_orders import change, created

_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MOST_SECONDS = 10.0  # that a test which fails keeps a call waiting
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


class Holds(Behaviour):
    """Does nothing until `released` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def before(self, request: Any) -> None:
        self.released.wait(_MOST_SECONDS)


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


class LosesOneReply(Behaviour):
    """Does it, and the first reply does not arrive."""

    def __init__(self) -> None:
        self._lost = False

    def after(self, request: Any) -> None:
        lost, self._lost = self._lost, True
        if not lost:
            raise StatusError(Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="connection reset"))


class Refuses(Behaviour):
    """Refuses changes."""

    def __init__(self, refused: StatusError) -> None:
        self.refused = refused

    def before(self, request: Any) -> None:
        raise self.refused


class RefusesLate(Holds):
    """Refuses changes of one order, once `released` is set; to others it answers well."""

    def __init__(self, order_id: str, refused: StatusError) -> None:
        super().__init__()
        self.asked = threading.Event()
        """Set when it is asked for such a change."""
        self._order_id = order_id
        self._refused = refused

    def before(self, request: Any) -> None:
        if getattr(request, "order_id", "") == self._order_id:
            self.asked.set()
            super().before(request)
            raise self._refused


class Asked(NamedTuple):
    """A request to create or change an order, as it came, and the trace it is part of; empty where it names none."""

    request: Any
    traceparent: str


class FakeOrderService(OrderServiceServicer):
    """An Order Service in memory, listening until it is closed."""

    def __init__(self, address: str) -> None:
        self._lock = threading.Lock()
        self._behaviour = Behaviour()
        self._answers: dict[str, tuple[Any, Order]] = {}
        """The requests there were by request_id, each with the order it is answered with."""
        self.orders: dict[str, Order] = {}
        self.changes: list[Asked] = []
        """Every change it was asked for that had an effect, in order."""
        self.asked: list[Asked] = []
        """Every request for a change that came, repeats and refused ones among them."""
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
        (asked,) = _asked(request, context)
        return self._answer(request, context, lambda: api.CreateOrderResponse(order=self._once(asked, self._created)))

    def BatchCreateOrders(
        self, request: api.BatchCreateOrdersRequest, context: Context
    ) -> api.BatchCreateOrdersResponse:
        return self._answer(
            request, context, lambda: api.BatchCreateOrdersResponse(results=self._create_all(request, context))
        )

    def UpdateOrder(self, request: api.UpdateOrderRequest, context: Context) -> api.UpdateOrderResponse:
        (asked,) = _asked(request, context)
        return self._answer(request, context, lambda: api.UpdateOrderResponse(order=self._once(asked, self._changed)))

    def GetOrder(self, request: api.GetOrderRequest, context: Context) -> api.GetOrderResponse:
        return self._answer(request, context, lambda: api.GetOrderResponse(order=self._get(request.order_id)))

    def ListOrders(self, request: api.ListOrdersRequest, context: Context) -> api.ListOrdersResponse:
        return self._answer(request, context, lambda: api.ListOrdersResponse(orders=self.orders.values()))

    def _answer(self, request: Any, context: Context, act: Callable[[], R]) -> R:
        behaviour = self._behaviour if _changes(request) else Behaviour()
        try:
            with self._lock:
                self.asked += _asked(request, context)
            behaviour.before(request)
            with self._lock:
                response = act()
            behaviour.after(request)
        except StatusError as refused:
            _abort(context, refused.status, behaviour.may_retry)
        else:
            return response

    def _once(self, asked: Asked, act: Callable[[Any], Order]) -> Order:
        """A request_id has one effect, and serves one request (AIP-155). `act` gets the request in normal form."""
        request = normal(asked.request)
        if broken := violations(request):
            raise invalid(broken)
        if request.request_id not in self._answers:
            self._answers[request.request_id] = (request, act(request))
            self.changes.append(asked)
        known, order = self._answers[request.request_id]
        if known != request:
            raise status_error(ErrorReason.REQUEST_ID_REUSED, request_id=request.request_id)
        return order

    def _create_all(self, request: api.BatchCreateOrdersRequest, context: Context) -> list[api.CreateOrderResult]:
        return [self._result(asked) for asked in _asked(request, context)]

    def _result(self, asked: Asked) -> api.CreateOrderResult:
        try:
            return api.CreateOrderResult(order=self._once(asked, self._created))
        except StatusError as refused:
            return api.CreateOrderResult(status=refused.status)

    def _created(self, request: api.CreateOrderRequest) -> Order:
        if request.order_id in self.orders:
            raise order_already_exists(request.order_id)
        return self.keep(created(request))

    def _changed(self, request: api.UpdateOrderRequest) -> Order:
        order = Order()
        order.CopyFrom(self._get(request.order_id))
        if request.HasField("expected_version") and request.expected_version != order.version:
            raise version_mismatch(order.id, order.version)
        change(order, request)
        known = self.orders[order.id]
        return known if list(order.items) == list(known.items) and order.state == known.state else self.keep(order)

    def _get(self, order_id: str) -> Order:
        if order_id.lower() not in self.orders:
            raise order_not_found(order_id.lower())
        return self.orders[order_id.lower()]

    def keep(self, order: Order) -> Order:
        """Has an order from now on, or a version of it, whoever made it."""
        self.orders[order.id] = order
        return order


def _asked(request: Any, context: Context) -> list[Asked]:
    """The requests for a change in a call, each with its trace."""
    if not _changes(request):
        return []
    of_the_call = "".join(str(value) for key, value in context.invocation_metadata() if key == "traceparent")
    alone = request.requests if isinstance(request, api.BatchCreateOrdersRequest) else [request]
    return [Asked(creation, getattr(creation, "traceparent", "") or of_the_call) for creation in alone]


def _changes(request: Any) -> bool:
    return not isinstance(request, api.GetOrderRequest | api.ListOrdersRequest)


def _abort(context: Context, status: Status, may_retry: bool) -> NoReturn:
    pushed_back = () if may_retry else (("grpc-retry-pushback-ms", "-1"),)
    context.set_trailing_metadata(((_DETAILS, status.SerializeToString()), *pushed_back))
    context.abort(_CODES[status.code], status.message)
    raise AssertionError("abort raises")
