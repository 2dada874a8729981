"""The Order Service as the Product Service sees it: creations share a call, every answer is final or in doubt.

The contract says of each reason whether it is final: then the request has had no effect and what was reserved for it
may be released. Everything else leaves the outcome in doubt: a status without a reason of the contract, silence above
all. No status code decides (docs/reliability.md, "an outage between the services").
"""

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import grpc

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import DESCRIPTOR as ORDER_FILE
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    CreateOrderRequest,
    CreateOrderResult,
    GetOrderRequest,
    UpdateOrderRequest,
)
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderResponse as OrderServiceUpdateResponse
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderResponse,
    PlaceOrderResponse,
    PlaceOrderResult,
    UpdateOrderResponse,
)
from ordersys.contract.access import OF_CALLERS, service_name
from ordersys.contract.addresses import Addresses, channel_options
from ordersys.contract.descriptors import path
from ordersys.contract.errors import StatusError, is_final, reason_of
from ordersys.contract.splicing import hold_first
from ordersys.product_service.saga import OutcomeUnknown, in_doubt
from ordersys.runtime.rpc.measures import ClientCalls
from ordersys.runtime.rpc.status import status_of
from ordersys.runtime.rpc.traces import UNTRACED, calling, calling_for
from ordersys.runtime.tracing.contexts import child
from ordersys.runtime.tracing.spans import Attributes, is_on, outliving

if TYPE_CHECKING:  # its libraries are for who has an identity
    from ordersys.runtime.identity.certificates import Certificates

_log = logging.getLogger(__name__)
_SILENCES = 5  # looks without an answer, two seconds apart, before the log says so: services may start in any order
_LATE_SECONDS = 1.0  # for the end of a call to be heard of behind its deadline
_LOOK_SECONDS = 2.0  # to learn who is at the address: health is told every second, and must not hang for longer
# A UUID nobody makes (RFC 9562 §5.9), so that the answer is ORDER_NOT_FOUND.
_NO_ORDER = "00000000-0000-0000-0000-000000000000"
# Every call is idempotent, so that a connection that breaks is no reason to leave an outcome in doubt: within its
# timeout a call is made again. CANCELLED is how a grpc server that stops answers what it had not begun.
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
_SERVICE_CONFIG = {"methodConfig": [{"name": [{}], "retryPolicy": _RETRY}]}
# To each of several processes in its turn, and to none that says it does not work. Of a single one it would be the
# wrong question: one that says so for its broker's sake still takes orders.
_BALANCED = {
    **_SERVICE_CONFIG,
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
}
_OPTIONS = (
    # Back within a second after the Order Service is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A peer that vanished without a word is noticed.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Without calls it leaves before it is sent away (ORDERSYS_IDLE_SECONDS).
    ("grpc.client_idle_timeout_ms", 240_000),
    # A reply to 500 creations of 50 items each is some 3 MB: near grpc's own limit of 4 MiB.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


_SERVICE = ORDER_FILE.services_by_name["OrderService"]
_ORDER_SERVICE = service_name(_SERVICE.full_name)
_BATCH_CREATE_ORDERS, _UPDATE_ORDER, _GET_ORDER = (
    path(_SERVICE.methods_by_name[name]) for name in ("BatchCreateOrders", "UpdateOrder", "GetOrder")
)
_AT_OPEN, _AT_INTERNAL = "ORDERSYS_ORDER_SERVICE_ADDRESS", "ORDERSYS_ORDER_SERVICE_INTERNAL_ADDRESS"
_TLS_TROUBLE = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification", "WRONG_VERSION_NUMBER")


class OrderServiceClient:
    """A client of the Order Service. Each method raises StatusError for a final refusal, else OutcomeUnknown.

    Blocks no thread; a call takes `timeout` seconds at most.
    """

    def __init__(
        self, address: Addresses, timeout: float, balanced: bool = False, certificates: "Certificates | None" = None
    ) -> None:
        """`balanced` where a name may have the addresses of several processes; a list of addresses always is.

        With `certificates` both sides show one: this its own, the other that of the Order Service, wherever it is.
        """
        self._address = address
        first = address.each[0]  # to which of several a call goes gRPC alone knows
        self._server: Attributes = {"server.address": first.host, "server.port": first.port}
        self._timeout = timeout
        config = _BALANCED if balanced or len(address.each) > 1 else _SERVICE_CONFIG
        self._options = (("grpc.service_config", json.dumps(config)), *_OPTIONS, *channel_options(address))
        self._certificates = certificates
        self._calls = ClientCalls()
        self._connect()
        self._found: bool | None = None
        """True when an Order Service is at the address, None while nobody answers."""
        self._turned_away = self._said = ""
        self._silences = 0

    @property
    def astray(self) -> bool:
        """True when a person has to help: another service is at the address, or the Order Service turns this one away.

        Not when nobody answers.
        """
        return self._found is False or bool(self._turned_away)

    async def look(self) -> None:
        """Asks who is at the address, unless an Order Service is known to be: health need not wait for a client's call.

        An order that can't be is asked for: only an Order Service has a reason of the contract why there is none.
        """
        await self._renew()
        if self._found and not self._turned_away:
            return
        try:
            await self._stub.GetOrder(GetOrderRequest(order_id=_NO_ORDER), timeout=_LOOK_SECONDS, metadata=UNTRACED)
        except grpc.aio.AioRpcError as error:
            self._learn(error)
            if not reason_of(status_of(error)):
                self._silent(error)
        else:
            self._answered()

    async def create(self, requests: Sequence[CreateOrderRequest]) -> list[bytes | Exception]:
        """Creates orders, 500 at most, with one call: for each its order, or why there is none.

        An order comes as the bytes of any message that holds it in field 1, such as a PlaceOrderResponse.
        """
        try:
            batch = BatchCreateOrdersRequest(requests=requests)
            # wait_for_ready: an outage that is over within the timeout leaves no doubt, the call goes out then.
            with (
                self._calls.timed(_BATCH_CREATE_ORDERS),
                calling_for(_BATCH_CREATE_ORDERS, [each.traceparent for each in requests], self._server) as metadata,
            ):
                response = await self._stub.BatchCreateOrders(
                    batch, timeout=self._timeout, wait_for_ready=True, metadata=metadata
                )
        except grpc.aio.AioRpcError as error:
            refused = self._refused(error)
            if len(requests) > 1 and _is_about_the_whole(error, refused):
                middle = len(requests) // 2
                return [*await self.create(requests[:middle]), *await self.create(requests[middle:])]
            return [refused for _ in requests]
        self._answered()
        if len(response.results) != len(requests):  # whose result is missing can't be known
            _log.error("the Order Service at %s answered %d of %d", self._address, len(response.results), len(requests))
            return [in_doubt() for _ in requests]
        return [_order(result) for result in response.results]

    async def update(self, request: UpdateOrderRequest, traceparent: str) -> bytes:
        """Changes an order; its bytes come as those of `create` do."""
        # A repeat by another process is of the same span: what the Order Service makes of either is its child.
        with_span = outliving(traceparent, _UPDATE_ORDER)
        try:
            with (
                self._calls.timed(_UPDATE_ORDER),
                calling(_UPDATE_ORDER, traceparent, with_span, self._server) as metadata,
            ):
                response = await self._stub.UpdateOrder(
                    request, timeout=self._timeout, wait_for_ready=True, metadata=metadata
                )
        except grpc.aio.AioRpcError as error:
            raise self._refused(error) from error
        self._answered()
        return response.SerializeToString()

    async def get(self, order_id: str, parent: str) -> Order:
        """Reads an order, for the call or the saga whose span is `parent`; empty where there is none."""
        request = GetOrderRequest(order_id=order_id)
        context = child(parent) if parent and is_on() else parent
        try:
            with (
                self._calls.timed(_GET_ORDER),
                calling(_GET_ORDER, parent, context, self._server) as metadata,
            ):
                response = await self._stub.GetOrder(
                    request, timeout=self._timeout, wait_for_ready=True, metadata=metadata
                )
        except grpc.aio.AioRpcError as error:
            raise self._refused(error) from error
        self._answered()
        return response.order

    async def find(self, order_id: str, parent: str) -> Order | None:
        """As `get`, None when there is none. Raises OutcomeUnknown when that can't be said."""
        try:
            return await self.get(order_id, parent)
        except OutcomeUnknown:
            raise
        except StatusError as refused:
            if reason_of(refused.status) == ErrorReason.Name(ErrorReason.ORDER_NOT_FOUND):
                return None
            _log.error("the Order Service at %s refuses to say whether there is order %s", self._address, order_id)
            raise in_doubt() from refused

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    def _connect(self) -> None:
        options: Sequence[tuple[str, Any]] = self._options
        if self._certificates is None:
            self._channel = grpc.aio.insecure_channel(self._address.target, options=options)
        else:
            self._generation = self._certificates.generation
            credentials = self._certificates.channel_credentials()
            # Whatever its address: of a certificate Python can have a name checked, but no URI (grpc/grpc#5697).
            options = (*options, ("grpc.ssl_target_name_override", _ORDER_SERVICE))
            self._channel = grpc.aio.secure_channel(self._address.target, credentials, options=options)
        self._stub = OrderServiceStub(self._channel)

    async def _renew(self) -> None:
        """Connects anew with a certificate that is new: a channel keeps the one it was made with (grpc/grpc#15735)."""
        if self._certificates is not None and self._certificates.generation != self._generation:
            before = self._channel
            self._connect()
            # Calls under way end there, by their own deadline: one that a channel cancels cancels who waits for it.
            await before.close(self._timeout + _LATE_SECONDS)

    def _silent(self, error: grpc.aio.AioRpcError) -> None:
        """Says once what no call says that waits until the other side is ready: no connection comes about."""
        details = error.details() or ""
        trouble = next((word for word in _TLS_TROUBLE if word in details), "")
        if trouble and trouble != self._said:
            text = "the Order Service at %s can't be trusted, or does not trust this service: %s"
            _log.error(text, self._address, trouble)
        elif self._silences == _SILENCES:
            text = "the Order Service at %s does not answer; is it there, and encrypted as this service is? %s"
            _log.warning(text, self._address, details)
        self._silences += 1
        self._said = trouble

    def _refused(self, error: grpc.aio.AioRpcError) -> StatusError:
        self._learn(error)
        status = status_of(error)
        if is_final(status):
            return StatusError(status)
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            _log.warning("the Order Service at %s left an outcome in doubt: %s", self._address, error.code().name)
        return in_doubt()

    def _learn(self, error: grpc.aio.AioRpcError) -> None:
        """Draws from a status who has answered, if anybody: only an Order Service has reasons of the contract."""
        if (reason := reason_of(status_of(error))) in OF_CALLERS:
            self._found = True
            if reason != self._turned_away:
                _log.error("the Order Service at %s turns this service away: %s", self._address, reason)
            self._turned_away = reason
        elif reason:
            self._answered()
        elif error.code() is grpc.StatusCode.UNIMPLEMENTED:
            if not self.astray:
                text = "at %s is another service; %s has to name the Order Service"
                _log.error(text, self._address, _AT_OPEN if self._certificates is None else _AT_INTERNAL)
            self._found = False
        elif error.code() is grpc.StatusCode.UNAVAILABLE and self._found:
            self._found = None  # it has gone, and whoever comes may be another

    def _answered(self) -> None:
        if self.astray:
            _log.info("at %s is the Order Service again", self._address)
        self._found, self._turned_away, self._silences = True, "", 0


def _is_about_the_whole(error: grpc.aio.AioRpcError, refused: StatusError) -> bool:
    """True when a batch may fare better in parts.

    A final refusal is about one of its requests, which is refused alone then. RESOURCE_EXHAUSTED without a reason of
    the contract is gRPC's own word for a message over a size limit: the batch itself, or its response, in which case
    the orders exist and asking again in parts answers them.
    """
    if not isinstance(refused, OutcomeUnknown):
        return True
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not reason_of(status_of(error))


# One body serves as the Order Service's reply, the outcome of the client's request and the response to it.
hold_first(
    "order",
    CreateOrderResult,
    PlaceOrderResponse,
    PlaceOrderResult,
    OrderServiceUpdateResponse,
    UpdateOrderResponse,
    CancelOrderResponse,
)


def _order(result: CreateOrderResult) -> bytes | Exception:
    if result.HasField("order"):
        return result.SerializeToString()
    return StatusError(result.status) if is_final(result.status) else in_doubt()
