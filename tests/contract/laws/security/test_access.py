"""Rights of callers: by roles and services, over what is theirs, and whose a request_id is."""

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, ListOrdersRequest
from ordersys.api.product.v1.product_service_pb2 import (
    BatchPlaceOrdersRequest,
    CancelOrderRequest,
    GetProductRequest,
    ItemQuantities,
    ItemQuantity,
    ListProductsRequest,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.contract import access, descriptors
from tests.contract.harness.client import LISTENERS, ORDER, PRODUCT, RPCS, Answer, of_each, refusal
from tests.contract.harness.identity import Identity
from tests.contract.harness.system_under_test import SystemUnderTest, new_id

CALLERS = {"nobody": None, "customer": Role.ROLE_CUSTOMER, "operator": Role.ROLE_OPERATOR, "stranger": None}
NOT_HIS = ("CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "NOT_PERMITTED")
SERVICES = [access.service_name(name) for name in access.service_ids().values()]
CASES = [(role, method) for role in (PRODUCT, ORDER, LISTENERS[0]) for method in RPCS[role]]
every_rpc = pytest.mark.parametrize(("role", "method"), CASES, ids=[f"{role}-{method.name}" for role, method in CASES])
SECONDS = 20.0
NO_MESSAGE = b"\xff\xff"
MEBIBYTE = 1024 * 1024


class Customer(NamedTuple):
    """Calls with the token of a customer."""

    system: SystemUnderTest
    name: str
    token: str

    def call(self, request: Message) -> Answer:
        """The answer to him."""
        return self.system.call_as(self.token, request)

    def ok(self, request: Message) -> Any:
        """The response to a request of his that has to succeed."""
        answer = self.call(request)
        assert answer.response is not None, f"{request.DESCRIPTOR.name} of {self.name} was refused: {answer}"
        return answer.response

    def place(self, product: str, **fields: Any) -> Order:
        """An order of his."""
        order: Order = self.ok(wanting(product, **{"customer_id": self.name, **fields})).order
        return order


def identity_of(system: SystemUnderTest) -> Identity:
    """The authority and the callers of a system that has them."""
    assert system.identity is not None
    return system.identity


def customer(system: SystemUnderTest, name: str) -> Customer:
    """A customer nobody else is."""
    own = f"{name}-{uuid.uuid4().hex[:12]}"
    return Customer(system, own, identity_of(system).token(own, Role.ROLE_CUSTOMER))


def token_of(system: SystemUnderTest, caller: str) -> str:
    """A token with the role of that name, one with none, or no token."""
    role = CALLERS[caller]
    if caller == "nobody":
        return ""
    if role is None:  # a role of another system
        return _with(identity_of(system).operator, scope="openid ordersys.customers ORDERSYS.OPERATOR", of=system)
    return identity_of(system).token(f"a-{caller}", role)


def _with(token: str, of: SystemUnderTest, **claims: object) -> str:
    """A token like another one, by the same issuer, with these claims."""
    from ordersys.identity import issuing, minting  # noqa: PLC0415 - what no issuer of ours would make

    layout = identity_of(of).authority.layout
    key = issuing.parsed_key(layout.issuer_key.read_bytes())
    said: Any = {**_part(token, 1), **claims}
    return minting.signed({name: value for name, value in said.items() if value is not None}, key)  # type: ignore[arg-type]


def _part(token: str, number: int) -> dict[str, object]:
    segment = token.split(".")[number]
    part: dict[str, object] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return part


def wanting(product: str, **fields: Any) -> PlaceOrderRequest:
    """A request for one of a product."""
    return PlaceOrderRequest(
        **{"request_id": new_id(), "items": [ItemQuantity(product_id=product, quantity=1)], **fields}
    )


def changing(order_id: str, product: str, quantity: int = 2, **fields: Any) -> UpdateOrderRequest:
    """A request to change the items of an order."""
    items = ItemQuantities(items=[ItemQuantity(product_id=product, quantity=quantity)])
    return UpdateOrderRequest(**{"request_id": new_id(), "order_id": order_id, "items": items, **fields})


@pytest.mark.cites(
    "access.proto", "What is not stated is refused: a role or a service that an RPC does not name may not call it"
)
@pytest.mark.cites("access.proto", "Who may not call is told before the request is read")
@pytest.mark.judges("identities")
@every_rpc
@pytest.mark.parametrize("caller", CALLERS)
def test_an_rpc_is_called_by_whom_the_contract_names(
    system: SystemUnderTest, role: str, method: MethodDescriptor, caller: str
) -> None:
    """By the roles of his token; nothing is said to anybody else of what he has sent."""
    rights, given = access.access(method), CALLERS[caller]
    may = {Role.ROLE_ANONYMOUS, *([given] if given else [])} & rights.roles
    expected = "CREDENTIALS_MISSING" if caller == "nobody" else "NOT_PERMITTED"
    token = token_of(system, caller)
    for body in (b"", NO_MESSAGE):
        answer = system.client.send(method, body, role, token=token)
        if may:
            assert answer.reason not in NOT_HIS
        else:
            assert answer.reason == expected


@pytest.mark.cites("access.proto", "or, where services call each other, by the certificate of the connection")
@pytest.mark.judges(ORDER, "identities")
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("method", RPCS[ORDER], ids=[method.name for method in RPCS[ORDER]])
def test_an_rpc_is_called_by_the_services_that_the_contract_names(
    system: SystemUnderTest, method: MethodDescriptor, service: str
) -> None:
    """By their certificates; a token beside one takes its place, and adds nothing to it."""
    identity, rights = identity_of(system), access.access(method)
    may = service in map(access.service_name, rights.services)
    with identity.channel(identity.internal_address, (), service, ORDER) as channel:
        assert _refused(channel, method) == ("UNDECODABLE_REQUEST" if may else "NOT_PERMITTED")
        by_token = Role.ROLE_OPERATOR in rights.roles
        shown = (("authorization", f"Bearer {identity.operator}"),)
        assert _refused(channel, method, shown) == ("UNDECODABLE_REQUEST" if by_token else "NOT_PERMITTED")


def _refused(channel: grpc.Channel, method: MethodDescriptor, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    call: Any = channel.unary_unary(descriptors.path(method))
    with pytest.raises(grpc.RpcError) as refused:
        call(NO_MESSAGE, metadata=metadata, timeout=SECONDS)
    return refusal(refused.value).reason


@pytest.mark.cites("access.proto", "Who may not call is told before the request is read")
@pytest.mark.judges(PRODUCT, "identities")
@pytest.mark.parametrize("caller", ["nobody", "customer"])
def test_a_forbidden_request_is_not_read_however_large_it_is(system: SystemUnderTest, caller: str) -> None:
    """One near the limit that is no message, either; the operator's is served right after it."""
    (method,) = (method for method in RPCS[PRODUCT] if method.name == "AdjustStock")
    answer = system.client.send(method, NO_MESSAGE * MEBIBYTE, token=token_of(system, caller))
    assert answer.reason == ("CREDENTIALS_MISSING" if caller == "nobody" else "NOT_PERMITTED")
    assert system.stock(system.new_product(7)) == (7, 0)


WRONG: Mapping[str, Callable[[str, SystemUnderTest], str]] = {
    "expired": lambda token, system: _with(token, system, iat=1_700_000_000, exp=1_700_003_600),
    "without an end": lambda token, system: _with(token, system, exp=None),
    "of another issuer": lambda token, system: _with(token, system, iss="https://elsewhere"),
    "for another audience": lambda token, system: _with(token, system, aud="another"),
    "of a name that can be no customer_id": lambda token, system: _with(token, system, sub="Olga, operator"),
    "of another signature": lambda token, system: token[:-6] + ("aaaaaa" if token[-6:] != "aaaaaa" else "bbbbbb"),
    "of other claims": lambda token, system: _replaced(token, 1, "sub", "somebody"),
    "of no algorithm": lambda token, system: _replaced(token, 0, "alg", "none").rpartition(".")[0] + ".",
    "of no algorithm, and signed": lambda token, system: _replaced(token, 0, "alg", "none"),
    "of another kind": lambda token, system: _replaced(token, 0, "typ", "JWT"),
    "no token": lambda token, system: "x",
}


def _replaced(token: str, number: int, name: str, value: str) -> str:
    parts = token.split(".")
    text = json.dumps({**_part(token, number), name: value}).encode()
    parts[number] = base64.urlsafe_b64encode(text).decode().rstrip("=")
    return ".".join(parts)


@pytest.mark.cites("access.proto", "One with a token has to have a valid one.")
@pytest.mark.judges(PRODUCT, "identities")
@pytest.mark.parametrize("name", WRONG)
def test_a_token_that_is_not_valid_is_refused(system: SystemUnderTest, name: str) -> None:
    """Also where none is needed: one that is shown is meant. And a valid one is taken right after it."""
    good = identity_of(system).operator
    for request in (ListProductsRequest(), GetProductRequest(product_id="x")):
        answer = system.call_as(WRONG[name](good, system), request)
        assert (answer.code, answer.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
    assert system.call_as(good, ListProductsRequest()).code is grpc.StatusCode.OK


@pytest.mark.cites("access.proto", "A caller is known by a bearer token")
@pytest.mark.judges(ORDER, "identities")
@pytest.mark.parametrize("key", ["authorization-bin", "x-customer-id", "x-forwarded-client-cert", "x-roles", "cookie"])
def test_nothing_else_says_who_calls(system: SystemUnderTest, key: str) -> None:
    """A caller without a token is nobody, whatever else his call carries."""
    operator = identity_of(system).operator
    value: Any = f"Bearer {operator}".encode() if key.endswith("-bin") else "operator"
    (method,) = (method for method in RPCS[ORDER] if method.name == "ListOrders")
    assert system.client.send(method, b"", token="", metadata=((key, value),)).reason == "CREDENTIALS_MISSING"


@pytest.mark.cites("access.proto", "A caller is known by a bearer token")
@pytest.mark.judges(PRODUCT, ORDER, "identities")
@pytest.mark.parametrize("key", ["x-customer-id", "x-user-id", "customer-id", "x-roles", "x-forwarded-client-cert"])
def test_nothing_beside_a_token_says_more_of_its_caller(system: SystemUnderTest, key: str) -> None:
    """He is who his token says, in its roles: orders of the one he names are none of his."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    anna.place(product)
    (listing,) = (method for method in RPCS[ORDER] if method.name == "ListOrders")
    (adjusting,) = (method for method in RPCS[PRODUCT] if method.name == "AdjustStock")
    for value in (anna.name, "operator"):
        metadata = ((key, value),)
        assert list(system.client.send(listing, b"", token=ben.token, metadata=metadata).response.orders) == []
        assert system.client.send(adjusting, b"", token=ben.token, metadata=metadata).reason == "NOT_PERMITTED"


CALLS: Mapping[str, Callable[[str, str], Message]] = {
    "read": lambda order, product: GetOrderRequest(order_id=order),
    "changed": changing,
    "changed at its version": lambda order, product: changing(order, product, expected_version=1),
    "changed at another version": lambda order, product: changing(order, product, expected_version=7),
    "changed to an unknown product": lambda order, product: changing(order, "no-such-product"),
    "changed to more than there is": lambda order, product: changing(order, product, 1000),
    "cancelled": lambda order, product: CancelOrderRequest(request_id=new_id(), order_id=order),
}


@pytest.mark.cites("access.proto", "An object of another owner is answered as one that never was (ORDER_NOT_FOUND)")
@pytest.mark.judges(PRODUCT, ORDER, "identities")
@pytest.mark.parametrize("state", ["placed", "cancelled"])
@pytest.mark.parametrize("call", CALLS)
def test_an_order_of_somebody_else_is_as_one_that_never_was(system: SystemUnderTest, call: str, state: str) -> None:
    """To the byte, but for the id, whatever its state, version and stock are; and it stays as it is."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product(50)
    order = anna.place(product)
    if state == "cancelled":
        order = anna.ok(CancelOrderRequest(request_id=new_id(), order_id=order.id)).order
    stock, never = system.stock(product), str(uuid.uuid4())
    hers, nobodys = ben.call(CALLS[call](order.id, product)), ben.call(CALLS[call](never, product))
    assert hers.reason == "ORDER_NOT_FOUND"
    assert hers.status.SerializeToString().replace(order.id.encode(), never.encode()) == (
        nobodys.status.SerializeToString()
    )
    assert anna.ok(GetOrderRequest(order_id=order.id)).order == order
    assert system.stock(product) == stock


@pytest.mark.cites("access.proto", "The field that names a customer, in a batch of each of its requests: himself.")
@pytest.mark.judges(PRODUCT, ORDER, "identities")
def test_a_customer_orders_for_himself_alone(system: SystemUnderTest) -> None:
    """Named, or left out; an order for somebody else is refused, and has no effect."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    refused = ben.call(wanting(product, customer_id=anna.name))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")
    assert refused.detail(ErrorInfo()).metadata["field"] == "customer_id"
    assert ben.place(product, customer_id="").customer_id == ben.name
    assert listed(anna) == []
    assert system.stock(product) == (999_999, 1)


@pytest.mark.cites("access.proto", "The field that names a customer, in a batch of each of its requests: himself.")
@pytest.mark.cites("product_service.proto", "one that is refused, or whose outcome is open, does not hinder the others")
@pytest.mark.judges(PRODUCT, ORDER, "identities")
def test_of_a_batch_each_order_is_for_its_caller(system: SystemUnderTest) -> None:
    """One for somebody else is refused in its place, the others are placed."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    names = (ben.name, anna.name, "", anna.name)
    batch = BatchPlaceOrdersRequest(requests=[wanting(product, customer_id=name) for name in names])
    results = of_each(ben.call(batch), len(names))
    assert [answer.reason for answer in results] == ["", "NOT_PERMITTED", "", "NOT_PERMITTED"]
    assert listed(anna) == []
    assert len(listed(ben)) == 2
    broken = BatchPlaceOrdersRequest(requests=[wanting(product, customer_id=anna.name), PlaceOrderRequest()])
    assert {field for field, _ in ben.call(broken).fields} == {"requests[1].request_id", "requests[1].items"}


def listed(caller: Customer, **fields: Any) -> list[str]:
    """The ids of the orders he is shown."""
    return sorted(order.id for order in caller.ok(ListOrdersRequest(page_size=500, **fields)).orders)


@pytest.mark.cites("access.proto", "Where he leaves it empty, he is meant.")
@pytest.mark.judges(PRODUCT, ORDER, "identities")
def test_a_customer_lists_his_own_orders(system: SystemUnderTest) -> None:
    """Asked for, or left out; those of another are refused, and a page of another is none for him."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    his = sorted(ben.place(product).id for _ in range(2))
    for _ in range(3):
        anna.place(product)
    assert listed(ben) == listed(ben, customer_id=ben.name) == his
    assert ben.call(ListOrdersRequest(customer_id=anna.name)).reason == "NOT_PERMITTED"
    assert listed(ben, state=OrderState.ORDER_STATE_PLACED) == his
    page = anna.ok(ListOrdersRequest(page_size=1))
    assert ben.call(ListOrdersRequest(page_size=1, page_token=page.next_page_token)).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.cites(
    "product_service.proto", "Customers change items and cancel; what becomes of an order is not theirs to say."
)
@pytest.mark.judges(PRODUCT, ORDER, "identities")
@pytest.mark.parametrize("state", ["PAID", "SHIPPED", "DELIVERED"])
def test_a_customer_does_not_say_what_becomes_of_an_order(system: SystemUnderTest, state: str) -> None:
    """Neither of his, nor of another's, nor of one that is not there: by this nobody learns which it is."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    order = anna.place(product)
    for order_id, caller in ((order.id, anna), (order.id, ben), (str(uuid.uuid4()), ben)):
        moved = OrderState.Value(f"ORDER_STATE_{state}")
        answer = caller.call(UpdateOrderRequest(request_id=new_id(), order_id=order_id, state=moved))
        assert (answer.reason, answer.detail(ErrorInfo()).metadata["field"]) == ("NOT_PERMITTED", "state")
    assert anna.ok(GetOrderRequest(order_id=order.id)).order == order


@pytest.mark.cites(
    "access.proto", "The request_ids of each caller are his own: under one id, two of them have two requests."
)
@pytest.mark.judges(PRODUCT, ORDER, "identities")
def test_a_request_id_is_its_callers_own(system: SystemUnderTest) -> None:
    """Another one's use of it takes nothing from him; a repeat of his own, alone or in a batch, is answered as ever."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    shared = new_id()
    his, hers = ben.place(product, request_id=shared), anna.place(product, request_id=shared)
    assert (his.customer_id, hers.customer_id) == (ben.name, anna.name)
    assert anna.place(product, request_id=shared) == hers
    again = BatchPlaceOrdersRequest(requests=[wanting(product, customer_id=ben.name, request_id=shared.upper())])
    assert ben.ok(again).results[0].order == his
    other = ben.call(wanting(product, request_id=shared, items=[ItemQuantity(product_id=product, quantity=9)]))
    assert (other.reason, other.detail(ErrorInfo()).metadata["request_id"]) == ("REQUEST_ID_REUSED", shared)


@pytest.mark.cites(
    "access.proto", "The request_ids of each caller are his own: under one id, two of them have two requests."
)
@pytest.mark.judges(PRODUCT, ORDER, "identities")
def test_a_change_of_somebody_else_is_not_recalled(system: SystemUnderTest) -> None:
    """The very request that was answered to its owner is an order that never was to another."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    order = anna.place(product)
    for request in (changing(order.id, product), CancelOrderRequest(request_id=new_id(), order_id=order.id)):
        answered = anna.ok(request)
        assert anna.ok(request) == answered
        assert ben.call(request).reason == "ORDER_NOT_FOUND"


@pytest.mark.cites(
    "access.proto", "The request_ids of each caller are his own: under one id, two of them have two requests."
)
@pytest.mark.judges(PRODUCT, ORDER, "identities")
@pytest.mark.parametrize("way", ["alone", "in a batch"])
def test_a_request_of_somebody_else_is_not_recalled(system: SystemUnderTest, way: str) -> None:
    """Its very words are an order for another customer; with his own name in them they are an order of his."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    request = wanting(product, customer_id=anna.name)
    if way == "alone":
        hers = anna.ok(request).order
    else:
        hers = anna.ok(BatchPlaceOrdersRequest(requests=[request])).results[0].order
    assert ben.call(request).reason == "NOT_PERMITTED"
    (refused,) = of_each(ben.call(BatchPlaceOrdersRequest(requests=[request])), 1)
    assert refused.reason == "NOT_PERMITTED"
    request.customer_id = ""
    his = ben.ok(request).order
    assert (his.customer_id, listed(ben), listed(anna)) == (ben.name, [his.id], [hers.id])
    assert system.stock(product) == (999_998, 2)


@pytest.mark.cites("access.proto", "Operators and services act for all customers.")
@pytest.mark.judges(PRODUCT, ORDER, "identities")
def test_an_operator_orders_for_a_customer_whose_order_it_is_then(system: SystemUnderTest) -> None:
    """The customer reads and cancels it, and nobody else does."""
    anna, ben, product = customer(system, "anna"), customer(system, "ben"), system.new_product()
    order = system.call_as(identity_of(system).operator, wanting(product, customer_id=anna.name)).response.order
    assert ben.call(GetOrderRequest(order_id=order.id)).reason == "ORDER_NOT_FOUND"
    assert anna.ok(GetOrderRequest(order_id=order.id)).order == order
    anna.ok(CancelOrderRequest(request_id=new_id(), order_id=order.id))
    assert system.stock(product) == (1_000_000, 0)
