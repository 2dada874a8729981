"""A client that knows the contract only: bytes over gRPC, answered by a message or a status of the contract."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status

from ordersys.api.amqp.v1 import topology_pb2
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderResponse, PlaceOrderResult
from ordersys.contract import descriptors
from ordersys.contract.addresses import Addresses, channel_options, parse_list
from ordersys.contract.errors import reason_of
from ordersys.contract.topology import Publication, subscriptions
from tests.contract.harness.call_lines import CallLog
from tests.contract.harness.identity import Identity, bearer, is_for_services

PRODUCT, ORDER = "product-service", "order-service"
LISTENERS = tuple(subscription.consumer for subscription in subscriptions())
ROLES = (PRODUCT, ORDER, *LISTENERS)
_SERVICES = {
    "ProductService": (PRODUCT,),
    "OrderService": (ORDER,),
    "NotificationLog": LISTENERS,
    "DeadLetterService": LISTENERS,
}
SERVED = tuple(
    service for service in descriptors.services() if not service.GetOptions().HasExtension(topology_pb2.subscription)
)
RPCS: dict[str, tuple[MethodDescriptor, ...]] = {
    role: tuple(method for service in SERVED if role in _SERVICES[service.name] for method in service.methods)
    for role in ROLES
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# A service that was killed is found again soon after it is back, not after gRPC's usual pauses of up to two minutes.
_RECONNECTING = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))
_BY_REQUEST = {method.input_type.full_name: method for service in SERVED for method in service.methods}


class Answer(NamedTuple):
    """The answer to a call: `response` when the code is OK, else the status with its details."""

    code: grpc.StatusCode
    response: Any
    status: Status

    def __str__(self) -> str:
        """For people: code, reason and text of a refusal."""
        said = ": ".join(filter(None, [self.reason, self.status.message]))
        return f"{self.code.name} {said}".strip()

    @property
    def reason(self) -> str:
        """The reason of the refusal, empty when there is none."""
        return reason_of(self.status)

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The fields named as breaking a rule, each with the rule's id."""
        bad = BadRequest()
        return [(v.field, v.reason) for d in self.status.details if d.Unpack(bad) for v in bad.field_violations]

    def detail(self, message: Any) -> Any:
        """The detail of that type, filled in; fails when there is none."""
        assert any(detail.Unpack(message) for detail in self.status.details), f"no {message.DESCRIPTOR.name}: {self}"
        return message


# Each call to another one of several processes.
_IN_TURN = (("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),)


def _channel(address: Addresses, identity: Identity | None, role: str) -> grpc.Channel:
    in_turn = _IN_TURN if len(address.each) > 1 else ()
    options = [*channel_options(address), *_RECONNECTING, *in_turn]
    if identity is None:
        return grpc.insecure_channel(address.target, options)
    return identity.channel(address.target, options, role=role)


def _channels_of_each(address: Addresses, identity: Identity | None, role: str) -> list[grpc.Channel]:
    each = [Addresses((each,)) for each in address.each] if len(address.each) > 1 else []
    return [_channel(single, identity, role) for single in each]


class NotReachable(Exception):
    """The service to be judged does not answer; the text names it."""


class ContractClient:
    """Connections to the services that are judged, by role. Raises NotReachable when one does not answer in time."""

    def __init__(self, addresses: dict[str, str], timeout: float, identity: Identity | None = None) -> None:
        """With an identity it calls as an operator, and what is for services alone as the Product Service."""
        self._timeout = timeout
        self._identity = identity
        each = {role: parse_list(address) for role, address in addresses.items()}
        self._channels = {role: _channel(address, identity, role) for role, address in each.items()}
        self._each = {role: _channels_of_each(address, identity, role) for role, address in each.items()}
        """A connection to each process of those that have several."""
        self._internal = identity.of_product_service(_RECONNECTING) if identity else None
        self.calls: Counter[str] = Counter()
        """The number of calls to each role: evidence of contact."""
        self.log = CallLog()
        """The last calls, as they were answered."""
        self.orders: set[str] = set()
        """The ids of orders that were answered, one by one: there are to be events of them."""
        for role, address in addresses.items():
            if not self._answer(role):
                self.close()
                raise NotReachable(f"the {role} at {address} does not answer within {timeout:.0f} s")

    def call(self, request: Message, role: str | None = None, timeout: float | None = None, **options: Any) -> Answer:
        """The RPC that takes this request; `role` where more than one service has it."""
        method = _BY_REQUEST[request.DESCRIPTOR.full_name]
        return self.send(method, request.SerializeToString(), role, timeout, **options)

    def send(
        self,
        method: MethodDescriptor,
        body: bytes,
        role: str | None = None,
        timeout: float | None = None,
        token: str | None = None,
        **options: Any,
    ) -> Answer:
        """An RPC with any bytes; of whom `token` says where there are identities, of nobody for an empty one."""
        role = role or _SERVICES[method.containing_service.name][0]
        self.calls[role] += 1
        call = self._channel_for(method, role, token).unary_unary(
            descriptors.path(method), _same, descriptors.message_class(method.output_type).FromString
        )
        metadata = (*options.pop("metadata", ()), *self._credential(method, token))
        try:
            response: Any = call(body, timeout=timeout or self._timeout, metadata=metadata, **options)
        except grpc.RpcError as error:
            refused = refusal(error)
            self.log.add(role, method, body, None, f"{refused.code.name} {refused.reason}".strip())
            return refused
        self.log.add(role, method, body, response, "")
        if "order" in method.output_type.fields_by_name and response.order.id:
            self.orders.add(response.order.id)
        return Answer(grpc.StatusCode.OK, response, Status())

    def _channel_for(self, method: MethodDescriptor, role: str, token: str | None) -> grpc.Channel:
        if self._internal is not None and token is None and is_for_services(method):
            return self._internal
        return self._channels[role]

    def _credential(self, method: MethodDescriptor, token: str | None) -> tuple[tuple[str, str], ...]:
        if self._identity is None or token == "" or (token is None and is_for_services(method)):
            return ()
        return bearer(token or self._identity.operator)

    def health(self, role: str, service: str) -> int:
        """The health of one of a role's services, of itself for "" (grpc.health.v1). Raises grpc.RpcError."""
        self.calls[role] += 1
        return self._status(self._channels[role], service)

    def serving(self, role: str) -> bool:
        """True when the service says so, each of its processes; waits for their connections."""
        try:
            return self._answer(role) and all(
                self._status(channel, "") == HealthCheckResponse.SERVING for channel in self._all(role)
            )
        except grpc.RpcError:
            return False

    def _all(self, role: str) -> Sequence[grpc.Channel]:
        """That by which it is called, and one to each process where it has several: the first needs but one of them."""
        return [self._channels[role], *self._each[role]]

    def _status(self, channel: grpc.Channel, service: str) -> int:
        stub: Any = HealthStub(channel)
        return int(stub.Check(HealthCheckRequest(service=service), timeout=self._timeout).status)

    def _answer(self, role: str) -> bool:
        """True when each process has answered anything, of a service without health as well; waits for connections.

        grpc.channel_ready_future would leave a thread behind that fails where the channel is closed soon after.
        """
        return all(map(self._answers, self._all(role)))

    def _answers(self, channel: grpc.Channel) -> bool:
        stub: Any = HealthStub(channel)
        try:
            stub.Check(HealthCheckRequest(), timeout=self._timeout, wait_for_ready=True)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            return error.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        return True

    def close(self) -> None:
        """Closes the connections."""
        internal = [self._internal] if self._internal is not None else []
        for channel in (*self._channels.values(), *chain.from_iterable(self._each.values()), *internal):
            channel.close()


def publisher(publication: Publication) -> str:
    """The role that publishes an event."""
    return _SERVICES[publication.publisher.rpartition(".")[2]][0]


def of_each(answer: Answer, count: int) -> list[Answer]:
    """The answer to each of a batch of `count` placements, as if alone; the batch's own answer without results."""
    if answer.response is None:
        return [answer] * count
    return [_alone(result) for result in answer.response.results]


def _alone(result: PlaceOrderResult) -> Answer:
    if result.HasField("order"):
        return Answer(grpc.StatusCode.OK, PlaceOrderResponse(order=result.order), Status())
    return Answer(_CODES[result.status.code], None, result.status)


def _same(body: bytes) -> bytes:
    return body


def refusal(error: grpc.RpcError) -> Answer:
    """The answer that a call was refused with."""
    assert isinstance(error, grpc.Call)
    attached = rpc_status.from_call(error)
    status = attached if attached is not None else Status(code=error.code().value[0], message=error.details() or "")
    return Answer(error.code(), None, status)
