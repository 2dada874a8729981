"""Rights of the contract as pure rules: who may call, set, own; and whose a request_id is."""

import uuid

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1 import order_service_pb2
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.product.v1 import product_service_pb2
from ordersys.api.product.v1.product_service_pb2 import ItemQuantities, PlaceOrderRequest, UpdateOrderRequest
from ordersys.contract import access
from ordersys.contract.access import ANYBODY, TRUSTED, Caller, OwnRequestIds, Rules
from ordersys.contract.errors import StatusError, reason_of, status_error
from ordersys.contract.topology import grpc_services

ANNA = Caller("anna", frozenset({Role.ROLE_ANONYMOUS, Role.ROLE_CUSTOMER}))
OPERATOR = Caller("olga", frozenset({Role.ROLE_ANONYMOUS, Role.ROLE_OPERATOR}))
BOTH = Caller("dora", ANNA.roles | OPERATOR.roles)
NOBODY = Caller("nora", frozenset({Role.ROLE_ANONYMOUS}))
SERVICES = [Caller(service=name, roles=frozenset()) for name in access.service_ids().values()]
METHODS = [method for service in grpc_services() for method in service.methods]
PRODUCT = product_service_pb2.DESCRIPTOR.services_by_name["ProductService"].methods_by_name
ORDER = order_service_pb2.DESCRIPTOR.services_by_name["OrderService"].methods_by_name
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", fullmatch=True)


def admitted(method: MethodDescriptor, caller: Caller) -> str:
    """The reason of the refusal; empty for a caller who may."""
    try:
        Rules(method).admit(caller)
    except StatusError as refused:
        return reason_of(refused.status)
    return ""


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.full_name))
def test_only_those_whom_the_contract_names_may_call(method: MethodDescriptor) -> None:
    """Roles and services as they are stated, and nobody by being no other; whoever has shown nothing is told so."""
    stated = access.access(method)
    for caller in (ANNA, OPERATOR, BOTH, NOBODY):
        assert admitted(method, caller) == ("" if caller.roles & stated.roles else "NOT_PERMITTED")
    for service in SERVICES:
        assert admitted(method, service) == ("" if service.service in stated.services else "NOT_PERMITTED")
    assert admitted(method, ANYBODY) == ("" if Role.ROLE_ANONYMOUS in stated.roles else "CREDENTIALS_MISSING")
    assert admitted(method, Caller(service="unknown", roles=frozenset())) == "NOT_PERMITTED"
    assert admitted(method, TRUSTED) == ""


def test_a_service_and_a_role_are_never_added_up() -> None:
    """A caller with a certificate that may not call can't by a role it has beside that."""
    both = Caller("anna", OPERATOR.roles, service=SERVICES[0].service)
    assert admitted(PRODUCT["CreateProduct"], both) == "NOT_PERMITTED"


def test_an_rpc_that_does_not_say_who_may_call_it_is_not_served() -> None:
    """Nobody would be told that it is open."""
    (subscription, *_) = [s for s in _subscriptions() if s.methods]
    with pytest.raises(ValueError, match="does not say who may call it"):
        Rules(subscription.methods[0])


def _subscriptions() -> list:  # type: ignore[type-arg]
    from ordersys.contract.topology import subscribers  # noqa: PLC0415 - for this alone

    return list(subscribers())


@given(NAMES, NAMES)
def test_a_customer_orders_for_himself_alone(own: str, other: str) -> None:
    """Named or left out, he is meant; for anybody else he is refused, by the field."""
    rules = Rules(PRODUCT["PlaceOrder"])
    customer = Caller(own, ANNA.roles)
    left_out, named = PlaceOrderRequest(), PlaceOrderRequest(customer_id=own)
    assert rules.refusal(left_out, customer) is None
    assert rules.refusal(named, customer) is None
    assert left_out.customer_id == named.customer_id == own
    if other != own:
        refused = rules.refusal(PlaceOrderRequest(customer_id=other), customer)
        assert refused is not None
        assert reason_of(refused.status) == "NOT_PERMITTED"


@pytest.mark.parametrize("caller", [OPERATOR, BOTH, TRUSTED, *SERVICES], ids=str)
def test_who_acts_for_all_is_asked_for_no_owner(caller: Caller) -> None:
    """And nothing is filled in for him."""
    request = ListOrdersRequest()
    assert Rules(ORDER["ListOrders"]).refusal(request, caller) is None
    assert request == ListOrdersRequest()
    assert caller.owns("anybody")


def test_a_list_of_a_customer_is_of_his_own_orders() -> None:
    """By whatever else it is filtered."""
    request = ListOrdersRequest(page_size=5)
    assert Rules(ORDER["ListOrders"]).refusal(request, ANNA) is None
    assert request == ListOrdersRequest(page_size=5, customer_id="anna")


@pytest.mark.parametrize(("caller", "may"), [(ANNA, False), (OPERATOR, True), (BOTH, True), (TRUSTED, True)], ids=str)
def test_a_field_is_set_by_those_whom_it_names(caller: Caller, may: bool) -> None:
    """The state of an order by operators, its items by its owner as well."""
    rules = Rules(PRODUCT["UpdateOrder"])
    refused = rules.refusal(UpdateOrderRequest(state=2), caller)  # type: ignore[arg-type]
    assert (refused is None) == may
    assert rules.refusal(UpdateOrderRequest(items=ItemQuantities()), caller) is None


@given(st.uuids(), NAMES, NAMES)
def test_a_request_id_is_its_callers_own(chosen: uuid.UUID, first: str, second: str) -> None:
    """Two callers have two; one has the same each time, in whichever case; what is kept is a UUID, and never chosen."""
    kept = [_kept(str(chosen), name) for name in (first, second, first)] + [_kept(str(chosen).upper(), first)]
    assert kept[0] == kept[2] == kept[3] != str(chosen)
    assert (kept[0] == kept[1]) == (first == second)
    assert str(uuid.UUID(kept[0])) == kept[0]


def _kept(chosen: str, name: str) -> str:
    request = PlaceOrderRequest(request_id=chosen)
    OwnRequestIds([request], Caller(name, ANNA.roles))
    return request.request_id


@pytest.mark.parametrize("caller", [TRUSTED, *SERVICES], ids=str)
def test_those_without_a_name_keep_their_request_ids(caller: Caller) -> None:
    """So a saga that began before there were identities goes on under its own."""
    request = PlaceOrderRequest(request_id="9A3F6F0e-0000-4000-8000-000000000001")
    OwnRequestIds([request], caller)
    assert request.request_id == "9A3F6F0e-0000-4000-8000-000000000001"


@given(st.lists(st.uuids(), min_size=1, max_size=5, unique=True))
def test_a_refusal_names_the_id_that_the_caller_chose(chosen: list[uuid.UUID]) -> None:
    """Of a batch each by its own."""
    requests = [PlaceOrderRequest(request_id=str(each)) for each in chosen]
    ids = OwnRequestIds(requests, ANNA)
    for request, own in zip(requests, chosen, strict=True):
        refused = status_error(ErrorReason.REQUEST_ID_REUSED, request_id=request.request_id).status
        answered = Status.FromString(ids.told(refused.SerializeToString()))
        assert answered == status_error(ErrorReason.REQUEST_ID_REUSED, request_id=str(own)).status


def test_a_caller_is_shown_without_a_credential() -> None:
    """In the log: a role and a name, or a service."""
    shown = [str(caller) for caller in (ANNA, OPERATOR, ANYBODY, NOBODY)]
    assert shown == ["customer anna", "operator olga", "anonymous", "nora"]
    assert {str(service) for service in SERVICES} == {
        "order-service",
        "product-service",
        "notification-service-1",
        "notification-service-2",
    }


@pytest.mark.parametrize(
    ("caller", "reason"),
    [(OPERATOR, ""), (BOTH, ""), (TRUSTED, ""), (ANNA, "NOT_PERMITTED"), (ANYBODY, "CREDENTIALS_MISSING")],
    ids=str,
)
def test_reflection_is_for_operators(caller: Caller, reason: str) -> None:
    """It is no RPC of the contract, and tells everything that there is."""
    try:
        access.admit_operator(caller)
    except StatusError as refused:
        assert reason_of(refused.status) == reason
    else:
        assert reason == ""


def test_a_request_id_of_an_operator_is_none_of_a_customer_with_his_name() -> None:
    """Somebody who acts for all may have been answered with what is not for the customer."""
    requests = [PlaceOrderRequest(request_id="9a3f6f0e-0000-4000-8000-000000000001") for _ in range(2)]
    OwnRequestIds(requests[:1], Caller("anna", ANNA.roles))
    OwnRequestIds(requests[1:], Caller("anna", OPERATOR.roles))
    assert requests[0].request_id != requests[1].request_id


def test_each_refusal_of_a_batch_names_its_own_id_though_one_is_kept_for_another() -> None:
    """A caller may choose what another id of his is kept as."""
    first = PlaceOrderRequest(request_id="9a3f6f0e-0000-4000-8000-000000000001")
    OwnRequestIds([first], ANNA)
    chosen = [first.request_id, "9a3f6f0e-0000-4000-8000-000000000001"]
    requests = [PlaceOrderRequest(request_id=each) for each in chosen]
    ids = OwnRequestIds(requests, ANNA)
    for request, own in zip(requests, chosen, strict=True):
        refused = status_error(ErrorReason.REQUEST_ID_REUSED, request_id=request.request_id).status
        answered = Status.FromString(ids.told(refused.SerializeToString()))
        assert answered == status_error(ErrorReason.REQUEST_ID_REUSED, request_id=own).status
