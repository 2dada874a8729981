"""Calls of those who may not make them, and what goes on while their rights end."""

import os
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2 import ItemQuantity, PlaceOrderRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.contract import pagination
from tests.integration.api import eventually, reason
from tests.integration.attacks.test_output import signed
from tests.integration.test_secured import SECONDS, Secured

pytestmark = pytest.mark.timeout(400)  # for the first, which starts the system
PLACES = {
    "PRODUCT_SERVICE": "product-service",
    "ORDER_SERVICE": "order-service",
    "NOTIFICATION_SERVICE_1": "notification-service-1",
}
SHORT_SECONDS = 3
MOST_CALLS = 300  # as ORDERSYS_MAX_CONCURRENT_CALLS is by default
ADJUST = "/ordersys.api.product.v1.ProductService/AdjustStock"


def outcome(channel: grpc.Channel, request: PlaceOrderRequest, token: str) -> str:
    """The id of the order that is placed, or the reason why none is."""
    metadata = (("authorization", f"Bearer {token}"),)
    try:
        order = ProductServiceStub(channel).PlaceOrder(request, metadata=metadata, timeout=SECONDS).order
    except grpc.RpcError as error:
        return reason(error)
    return order.id


def new_name() -> str:
    """The name of a customer nobody else is."""
    return f"anna-{uuid.uuid4().hex[:8]}"


def wanting() -> PlaceOrderRequest:
    """A request for a sheet of paper."""
    item = ItemQuantity(product_id="paper-a4", quantity=1)
    return PlaceOrderRequest(request_id=str(uuid.uuid4()), items=[item])


def connect(secured: Secured, channel: grpc.Channel) -> None:
    """Makes a call, so that the next one waits for no connection."""
    assert outcome(channel, PlaceOrderRequest(), secured.authority.token("anna", [Role.ROLE_CUSTOMER]))


def ending_soon(secured: Secured, name: str) -> str:
    """A customer's token that is good for one call."""
    return signed(secured, sub=name, exp=int(datetime.now(UTC).timestamp()) + SHORT_SECONDS)


def listed(secured: Secured, name: str, request: ListOrdersRequest | None = None) -> Sequence[str]:
    """The customers of the orders that a customer is shown."""
    metadata = secured.bearer(name, Role.ROLE_CUSTOMER)
    with secured.channel(secured.address("ORDER_SERVICE"), "order-service") as channel:
        listing = OrderServiceStub(channel).ListOrders
        return [order.customer_id for order in listing(request or ListOrdersRequest(), metadata=metadata).orders]


def test_a_forbidden_request_that_never_ends_is_answered(secured: Secured) -> None:
    """As soon as it is known who calls: nobody waits for what he would send."""

    def never() -> Iterator[bytes]:
        deadline = time.monotonic() + SECONDS
        while not answered and time.monotonic() < deadline:
            time.sleep(0.01)
        yield from ()

    answered: list[str] = []
    with secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as channel:
        call: Any = channel.stream_unary(ADJUST)
        for metadata in ((), secured.bearer("ben", Role.ROLE_CUSTOMER)):
            with pytest.raises(grpc.RpcError) as refused:
                call(never(), metadata=metadata, timeout=SECONDS)
            answered.append(reason(refused.value))
    assert answered == ["CREDENTIALS_MISSING", "NOT_PERMITTED"]


def test_forbidden_calls_take_no_place_of_others(secured: Secured) -> None:
    """A hundred at a time, again and again, with forged tokens: each of another's calls is served meanwhile.

    And after more at once than are served at a time, too: none of them keeps anything.
    """
    token = secured.authority.token(new_name(), [Role.ROLE_CUSTOMER])
    forged = (("authorization", f"Bearer {token[:-8]}{'A' * 8}"),)
    address = secured.address("PRODUCT_SERVICE")
    with secured.channel(address, "product-service") as channel, secured.channel(address, "product-service") as other:
        adjust: Any = other.unary_unary(ADJUST)
        for number in (*(100,) * 12, 400):
            flood = [adjust.future(b"", metadata=forged, timeout=SECONDS) for _ in range(number)]
            if number < MOST_CALLS:
                assert uuid.UUID(outcome(channel, wanting(), token))
            codes = {call.code() for call in flood}
            assert grpc.StatusCode.UNAUTHENTICATED in codes
            assert number > MOST_CALLS or len(codes) == 1
        assert uuid.UUID(outcome(channel, wanting(), token))


@pytest.mark.parametrize("place", PLACES)
def test_reflection_is_answered_to_operators_alone(secured: Secured, place: str) -> None:
    """It was switched on for that."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with secured.channel(secured.address(place), PLACES[place]) as channel:
        ask: Any = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        for metadata, expected in (
            ((), "CREDENTIALS_MISSING"),
            (secured.bearer("ben", Role.ROLE_CUSTOMER), "NOT_PERMITTED"),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                list(ask(iter([request]), metadata=metadata, timeout=SECONDS))
            assert reason(refused.value) == expected
        metadata = secured.bearer("olga", Role.ROLE_OPERATOR)
        (answer,) = ask(iter([request]), metadata=metadata, timeout=SECONDS)
        assert answer.list_services_response.service


@pytest.mark.parametrize("place", PLACES)
def test_health_is_answered_to_everybody_and_says_no_more(secured: Secured, place: str) -> None:
    """Probes have no token; one that is not good is not looked at."""
    with secured.channel(secured.address(place), PLACES[place]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
        for metadata in ((), (("authorization", "Bearer x"),)):
            answer = check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=SECONDS)
            assert answer == health_pb2.HealthCheckResponse(status=answer.status)


@pytest.mark.parametrize(
    ("octets", "code"), [(7000, grpc.StatusCode.UNAUTHENTICATED), (9000, grpc.StatusCode.RESOURCE_EXHAUSTED)]
)
def test_a_token_of_any_length_is_refused(secured: Secured, octets: int, code: grpc.StatusCode) -> None:
    """For what it is, or with all that is more than a call may carry."""
    metadata = (("authorization", f"Bearer {'x' * octets}"),)
    with secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as channel:
        call: Any = channel.unary_unary(ADJUST)
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", metadata=metadata, timeout=SECONDS)
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() is code


def test_a_token_ends_between_two_calls_of_a_connection(secured: Secured) -> None:
    """All that was known of it ends with it."""
    with secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as channel:
        connect(secured, channel)
        short = ending_soon(secured, "anna")
        assert uuid.UUID(outcome(channel, wanting(), short))
        eventually(lambda: outcome(channel, wanting(), short) == "CREDENTIALS_INVALID", SECONDS)


def test_an_order_whose_callers_token_ends_meanwhile_comes_to_its_end(secured: Secured) -> None:
    """The token is needed to ask, and to be told; the order is created, or not, without it."""
    name = new_name()
    request = wanting()
    with (
        secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as channel,
        stopped(secured, "order_service"),
    ):
        connect(secured, channel)
        short = ending_soon(secured, name)
        assert outcome(channel, request, short) == "OUTCOME_OPEN"
        eventually(lambda: outcome(channel, wanting(), short) == "CREDENTIALS_INVALID", SECONDS)
    eventually(lambda: listed(secured, name) == [name], SECONDS)
    with secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as channel:
        assert outcome(channel, request, short) == "CREDENTIALS_INVALID"
        assert uuid.UUID(outcome(channel, request, secured.authority.token(name, [Role.ROLE_CUSTOMER])))
    assert listed(secured, name) == [name]


@contextmanager
def stopped(secured: Secured, module: str) -> Iterator[None]:
    """Has a service do nothing for a while."""
    pid = secured.system.services[module].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("key", [0, 1, 2**40, 2**63 - 1])
def test_a_forged_page_token_shows_nothing_of_others(secured: Secured, key: int) -> None:
    """It holds no secret, and needs none: a page is one of his own orders, wherever it begins."""
    anna, ben = new_name(), new_name()
    for name in (anna, ben, anna):
        secured.place(name)
    query = ListOrdersRequest(customer_id=ben)
    query.page_token = pagination.token(query, str(key))
    assert set(listed(secured, ben, query)) <= {ben}
    query = ListOrdersRequest()
    query.page_token = pagination.token(query, str(key))
    with pytest.raises(grpc.RpcError) as refused:
        listed(secured, ben, query)
    assert reason(refused.value) == "PAGE_TOKEN_INVALID"
