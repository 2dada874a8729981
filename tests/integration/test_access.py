"""The secured system as its callers meet it: who may call what, whose an order is, and who gets no connection at all.

The rights are derived from the contract, so that a new RPC is tried by everybody without a line here.
"""

import base64
import json
import socket
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2 import (
    BatchPlaceOrdersRequest,
    CancelOrderRequest,
    ItemQuantities,
    ItemQuantity,
    ListProductsRequest,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.contract import access, descriptors
from ordersys.contract.errors import reason_of
from ordersys.contract.topology import grpc_services
from ordersys.grpc_client.errors import error_info
from ordersys.identity import issuing, minting
from ordersys.identity.authority import Authority
from ordersys.local.system import Choices, System
from tests import virtual_host
from tests.integration.conftest import quietly, skip_without_rabbitmq

METHODS = {descriptors.path(method): method for service in grpc_services() for method in service.methods}
SECONDS = 10.0
ROLES = {"anonymous": None, "customer": Role.ROLE_CUSTOMER, "operator": Role.ROLE_OPERATOR, "nobody": None}
NOT_HIS = {"CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "NOT_PERMITTED"}
PRODUCT = "paper-a4"


class Secured(NamedTuple):
    """A running system, and the authority that vouches for it."""

    system: System
    authority: Authority

    def token(self, name: str, *roles: Any) -> str:
        """A new token of somebody; one without roles has a scope all the same, of another system."""
        if roles:
            return self.authority.token(name, roles)
        claims = minting.claims(name, [Role.ROLE_CUSTOMER], datetime.now(UTC))
        key = issuing.parsed_key(self.authority.layout.issuer_key.read_bytes())
        return minting.signed({**claims, "scope": "openid ordersys.customers ORDERSYS.OPERATOR"}, key)

    def channel(self, address: str, service: str, known_as: str = "") -> grpc.Channel:
        """A connection to a service at `address`; with the certificate of the service `known_as`, if that is given."""
        layout = self.authority.layout
        own = (layout.key(known_as), layout.certificate(known_as)) if known_as else ()
        credentials = grpc.ssl_channel_credentials(layout.ca.read_bytes(), *(file.read_bytes() for file in own))
        # Each its own connection: a channel is shared between those of one process else.
        options = (("grpc.ssl_target_name_override", service), ("grpc.use_local_subchannel_pool", 1))
        return grpc.secure_channel(address, credentials, options=options)

    def address(self, service: str, internal: bool = False) -> str:
        """The address of a service; of the Order Service also that for services."""
        name = service.upper().replace("-", "_")
        return self.system.environment[f"ORDERSYS_{name}{'_INTERNAL' if internal else ''}_ADDRESS"]

    def of(self, customer: str) -> "Customer":
        """The calls of a customer."""
        token = self.token(customer, Role.ROLE_CUSTOMER)
        return Customer(
            customer,
            ProductServiceStub(self.channel(self.address("product-service"), "product-service")),
            OrderServiceStub(self.channel(self.address("order-service"), "order-service")),
            (("authorization", f"Bearer {token}"),),
        )

    @property
    def operator(self) -> "Customer":
        """The calls of an operator."""
        return self.of("olga")._replace(metadata=bearer(self.token("olga", Role.ROLE_OPERATOR)))


class Customer(NamedTuple):
    """Calls with the token of a customer."""

    name: str
    products: ProductServiceStub
    orders: OrderServiceStub
    metadata: tuple[tuple[str, str], ...]

    def place(self, **fields: Any) -> Order:
        """An order of his."""
        request = placing(**{"customer_id": self.name, **fields})
        return self.products.PlaceOrder(request, metadata=self.metadata, timeout=SECONDS).order


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),)


def placing(**fields: Any) -> PlaceOrderRequest:
    """A request for an order of one sheet of paper."""
    items = [ItemQuantity(product_id=PRODUCT, quantity=1)]
    return PlaceOrderRequest(**{"request_id": str(uuid.uuid4()), "customer_id": "anna", "items": items, **fields})


def refusal(call: Callable[[], object]) -> Status:
    """The status that a call is refused with."""
    with pytest.raises(grpc.RpcError) as refused:
        call()
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    assert status is not None, refused.value
    return status


def raw(channel: grpc.Channel, path: str, body: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    """The reason for which a call with these bytes is refused; empty for one that is not refused."""
    call: Any = channel.unary_unary(path)
    return reason(lambda: call(body, metadata=metadata, timeout=SECONDS))


def reason(call: Callable[[], object]) -> str:
    """The reason of the contract for which a call is refused; empty for one that is not refused."""
    try:
        call()
    except grpc.RpcError as refused:
        status = rpc_status.from_call(refused)  # type: ignore[arg-type]
        return "" if status is None else reason_of(status)
    return ""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The whole system with identities; against the broker of ORDERSYS_TEST_AMQP_URL where that is set."""
    if (given := virtual_host.given()) is None:
        skip_without_rabbitmq()
        with System(tmp_path_factory.mktemp("secured"), quietly, Choices(secure=True)) as system:
            yield _of(system)
        return
    with (
        virtual_host.emptied(given) as url,
        System(tmp_path_factory.mktemp("secured"), quietly, Choices(secure=True, amqp_url=url)) as system,
    ):
        yield _of(system)


def _of(system: System) -> Secured:
    assert system.identities is not None
    return Secured(system, Authority(system.identities.layout.folder))


def served_by(method: MethodDescriptor) -> str:
    """The service at whose address an RPC is tried."""
    name = access.service_name(method.containing_service.full_name)
    return name if name in ("product-service", "order-service") else "notification-service-1"


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("who", ROLES)
def test_an_rpc_is_called_by_whom_the_contract_names(secured: Secured, path: str, who: str) -> None:
    """By a token, at the address for everybody; what is sent is not even looked at for anybody else."""
    stated = access.access(METHODS[path])
    roles = [role] if (role := ROLES[who]) else []
    metadata = () if who == "anonymous" else bearer(secured.token(f"a-{who}", *roles))
    may = {Role.ROLE_ANONYMOUS, *roles} & stated.roles
    expected = "CREDENTIALS_MISSING" if who == "anonymous" else "NOT_PERMITTED"
    service = served_by(METHODS[path])
    with secured.channel(secured.address(service), service) as channel:
        for body in (b"", b"\xff\xff"):
            got = raw(channel, path, body, metadata)
            assert got not in NOT_HIS if may else got == expected


@pytest.mark.parametrize("path", [path for path in METHODS if ".OrderService/" in path])
@pytest.mark.parametrize("who", [access.service_name(name) for name in access.service_ids().values()])
def test_an_rpc_is_called_by_the_services_that_the_contract_names(secured: Secured, path: str, who: str) -> None:
    """By their certificates, at the address for services; a token of an operator adds nothing to one."""
    may = who in {access.service_name(name) for name in access.access(METHODS[path]).services}
    with secured.channel(secured.address("order-service", internal=True), "order-service", who) as channel:
        got = raw(channel, path, b"\xff\xff")
        assert got == ("UNDECODABLE_REQUEST" if may else "NOT_PERMITTED")
        both = raw(channel, path, b"\xff\xff", bearer(secured.token("olga", Role.ROLE_OPERATOR)))
        by_token = Role.ROLE_OPERATOR in access.access(METHODS[path]).roles
        assert both == ("UNDECODABLE_REQUEST" if by_token else "NOT_PERMITTED")


def test_the_address_for_services_is_for_those_with_a_certificate(secured: Secured) -> None:
    """Nobody else gets a connection, whatever token he has."""
    token = secured.token("olga", Role.ROLE_OPERATOR)
    with (
        secured.channel(secured.address("order-service", internal=True), "order-service") as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        OrderServiceStub(channel).ListOrders(ListOrdersRequest(), metadata=bearer(token), timeout=SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("service", ["product-service", "order-service", "notification-service-1"])
def test_nothing_is_answered_in_clear(secured: Secured, service: str) -> None:
    """Also not what everybody may ask."""
    with grpc.insecure_channel(secured.address(service)) as channel, pytest.raises(grpc.RpcError) as refused:
        ProductServiceStub(channel).ListProducts(ListProductsRequest(), timeout=SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


TOKENS: Mapping[str, Callable[[str], tuple[tuple[str, str | bytes], ...]]] = {
    "another scheme": lambda token: (("authorization", f"Basic {token}"),),
    "a scheme alone": lambda token: (("authorization", "Bearer"),),
    "empty": lambda token: (("authorization", ""),),
    "two": lambda token: (*bearer(token), *bearer(token)),
    "cut": lambda token: bearer(token[:-4]),
    "of no signature": lambda token: bearer(token.rpartition(".")[0] + "."),
    "of another body": lambda token: bearer(_with_claim(token, "sub", "ben")),
    "of another algorithm": lambda token: bearer(_with_header(token, "alg", "none")),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_that_is_not_valid_is_refused_also_where_none_is_needed(secured: Secured, name: str) -> None:
    """One that is shown is meant."""
    metadata = TOKENS[name](secured.token("anna", Role.ROLE_CUSTOMER))
    stub = secured.of("anna").products
    assert reason(lambda: stub.ListProducts(ListProductsRequest(), metadata=metadata)) == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("key", ["authorization-bin", "x-customer-id", "x-forwarded-client-cert", "x-roles"])
def test_nothing_else_says_who_calls(secured: Secured, key: str) -> None:
    """A caller without a token is anonymous, whatever else his call carries."""
    token = secured.token("olga", Role.ROLE_OPERATOR)
    value: Any = f"Bearer {token}".encode() if key.endswith("-bin") else "operator"
    stub = secured.of("anna").orders
    got = reason(lambda: stub.ListOrders(ListOrdersRequest(), metadata=((key, value),), timeout=SECONDS))
    assert got == "CREDENTIALS_MISSING"


def _with_claim(token: str, name: str, value: object) -> str:
    header, claims, signature = token.split(".")
    return ".".join((header, _changed(claims, name, value), signature))


def _with_header(token: str, name: str, value: object) -> str:
    header, claims, signature = token.split(".")
    return ".".join((_changed(header, name, value), claims, signature))


def _changed(segment: str, name: str, value: object) -> str:
    content = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return base64.urlsafe_b64encode(json.dumps({**content, name: value}).encode()).decode().rstrip("=")


def changing(order_id: str, **fields: Any) -> UpdateOrderRequest:
    """A request to change the items of an order."""
    items = ItemQuantities(items=[ItemQuantity(product_id=PRODUCT, quantity=2)])
    return UpdateOrderRequest(**{"request_id": str(uuid.uuid4()), "order_id": order_id, "items": items, **fields})


UNKNOWN = ItemQuantities(items=[ItemQuantity(product_id="no-such-product", quantity=1)])
PLENTY = ItemQuantities(items=[ItemQuantity(product_id=each, quantity=1000) for each in (PRODUCT, "telescope")])
CALLS: Mapping[str, Callable[[Customer, str], object]] = {
    "read": lambda caller, order: caller.orders.GetOrder(GetOrderRequest(order_id=order), metadata=caller.metadata),
    "changed": lambda caller, order: caller.products.UpdateOrder(changing(order), metadata=caller.metadata),
    "changed at its version": lambda caller, order: caller.products.UpdateOrder(
        changing(order, expected_version=1), metadata=caller.metadata
    ),
    "changed at another version": lambda caller, order: caller.products.UpdateOrder(
        changing(order, expected_version=7), metadata=caller.metadata
    ),
    "changed to an unknown product": lambda caller, order: caller.products.UpdateOrder(
        changing(order, items=UNKNOWN), metadata=caller.metadata
    ),
    "changed to more than there is": lambda caller, order: caller.products.UpdateOrder(
        changing(order, items=PLENTY), metadata=caller.metadata
    ),
    "cancelled": lambda caller, order: caller.products.CancelOrder(
        CancelOrderRequest(request_id=str(uuid.uuid4()), order_id=order), metadata=caller.metadata
    ),
}


@pytest.mark.parametrize("state", ["placed", "cancelled"])
@pytest.mark.parametrize("call", CALLS)
def test_an_order_of_somebody_else_is_as_one_that_never_was(secured: Secured, call: str, state: str) -> None:
    """To the byte, but for the id; and it stays as it is."""
    anna, ben = secured.of("anna"), secured.of("ben")
    order = anna.place()
    if state == "cancelled":
        request = CancelOrderRequest(request_id=str(uuid.uuid4()), order_id=order.id)
        order = anna.products.CancelOrder(request, metadata=anna.metadata).order
    never = str(uuid.uuid4())
    theirs = refusal(lambda: CALLS[call](ben, order.id))
    nobodys = refusal(lambda: CALLS[call](ben, never))
    assert theirs.SerializeToString().replace(order.id.encode(), never.encode()) == nobodys.SerializeToString()
    assert reason_of(theirs) == "ORDER_NOT_FOUND"
    assert anna.orders.GetOrder(GetOrderRequest(order_id=order.id), metadata=anna.metadata).order == order


def test_a_customer_places_no_order_for_somebody_else(secured: Secured) -> None:
    """Nor as one of a batch, whose other orders are placed; whoever leaves himself out is meant."""
    anna, ben = secured.of("anna"), secured.of("ben")
    refused = refusal(lambda: ben.place(customer_id="anna"))
    assert reason_of(refused) == "NOT_PERMITTED"
    assert error_info(refused).metadata["field"] == "customer_id"
    wanted = [placing(customer_id="ben"), placing(customer_id="anna"), placing(customer_id="")]
    before = _orders(anna)
    batch = ben.products.BatchPlaceOrders(BatchPlaceOrdersRequest(requests=wanted), metadata=ben.metadata)
    assert [result.WhichOneof("result") for result in batch.results] == ["order", "status", "order"]
    assert [batch.results[n].order.customer_id for n in (0, 2)] == ["ben", "ben"]
    assert reason_of(batch.results[1].status) == "NOT_PERMITTED"
    only = BatchPlaceOrdersRequest(requests=[placing(customer_id="anna")])
    (result,) = ben.products.BatchPlaceOrders(only, metadata=ben.metadata).results
    assert reason_of(result.status) == "NOT_PERMITTED"
    assert _orders(anna) == before


def test_a_batch_with_an_order_of_somebody_else_is_valid_as_a_whole_or_not_at_all(secured: Secured) -> None:
    """The path of what is wrong is the one in the batch as it was sent."""
    ben = secured.of("ben")
    wanted = [placing(customer_id="anna"), placing(customer_id="ben", request_id="no-uuid")]
    request = BatchPlaceOrdersRequest(requests=wanted)
    refused = refusal(lambda: ben.products.BatchPlaceOrders(request, metadata=ben.metadata))
    assert reason_of(refused) == "INVALID_REQUEST"
    assert b"requests[1].request_id" in refused.SerializeToString()


def _orders(caller: Customer, **fields: Any) -> list[str]:
    request = ListOrdersRequest(page_size=500, **fields)
    return sorted(order.id for order in caller.orders.ListOrders(request, metadata=caller.metadata).orders)


def test_a_customer_lists_his_own_orders(secured: Secured) -> None:
    """Asked for or not; those of another are not for him, and a page of another is none of his."""
    anna, ben = secured.of(f"anna-{uuid.uuid4().hex[:8]}"), secured.of(f"ben-{uuid.uuid4().hex[:8]}")
    his = sorted(ben.place().id for _ in range(2))
    hers = sorted(anna.place().id for _ in range(3))
    assert _orders(ben) == _orders(ben, customer_id=ben.name) == his
    assert set(his + hers) <= set(_orders(secured.operator))
    assert reason(lambda: _orders(ben, customer_id=anna.name)) == "NOT_PERMITTED"
    page = anna.orders.ListOrders(ListOrdersRequest(page_size=1), metadata=anna.metadata)
    assert page.next_page_token
    assert reason(lambda: _orders(ben, page_token=page.next_page_token)) == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("state", ["PAID", "SHIPPED", "DELIVERED"])
def test_a_customer_does_not_say_what_becomes_of_his_order(secured: Secured, state: str) -> None:
    """Not of one that is his, and by this he does not learn whether another one is there."""
    anna, ben = secured.of("anna"), secured.of("ben")
    order = anna.place()
    for order_id, caller in ((order.id, anna), (order.id, ben), (str(uuid.uuid4()), ben)):
        moving = UpdateOrderRequest(
            request_id=str(uuid.uuid4()), order_id=order_id, state=OrderState.Value(f"ORDER_STATE_{state}")
        )
        assert reason(lambda: caller.products.UpdateOrder(moving, metadata=caller.metadata)) == "NOT_PERMITTED"  # noqa: B023
    assert anna.orders.GetOrder(GetOrderRequest(order_id=order.id), metadata=anna.metadata).order == order


def test_a_request_id_is_its_callers_own(secured: Secured) -> None:
    """Another one's use of it tells nobody anything, takes nothing from anybody, and recalls nothing."""
    anna, ben = secured.of("anna"), secured.of("ben")
    shared = str(uuid.uuid4())
    his = ben.place(request_id=shared)
    hers = anna.place(request_id=shared)
    assert (his.customer_id, hers.customer_id) == ("ben", "anna")
    assert his.id != hers.id
    assert anna.place(request_id=shared) == hers
    again = BatchPlaceOrdersRequest(requests=[placing(customer_id="ben", request_id=shared)])
    assert ben.products.BatchPlaceOrders(again, metadata=ben.metadata).results[0].order == his
    other = refusal(lambda: ben.place(request_id=shared, items=[ItemQuantity(product_id=PRODUCT, quantity=9)]))
    assert (reason_of(other), error_info(other).metadata["request_id"]) == ("REQUEST_ID_REUSED", shared)
    change = changing(hers.id)
    changed = anna.products.UpdateOrder(change, metadata=anna.metadata)
    assert anna.products.UpdateOrder(change, metadata=anna.metadata) == changed
    assert reason(lambda: ben.products.UpdateOrder(change, metadata=ben.metadata)) == "ORDER_NOT_FOUND"


def test_a_certificate_is_renewed_without_a_restart(secured: Secured) -> None:
    """Both that of who calls and that of who is called; no call fails meanwhile."""
    anna = secured.of("anna")
    before = _certificate(secured, "order-service")
    for name in ("order-service", "product-service"):
        secured.authority.certificate(name)
    for _ in range(100):
        anna.place()
        if _certificate(secured, "order-service") != before:
            break
    assert _certificate(secured, "order-service") != before
    anna.place()


def _certificate(secured: Secured, service: str) -> str:
    host, _, port = secured.address(service).rpartition(":")
    context = ssl.create_default_context(cafile=str(secured.authority.layout.ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=service) as encrypted,
    ):
        return ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True) or b"")


def test_a_refused_call_is_one_line_of_the_log(secured: Secured) -> None:
    """Who, what, why and from where; no token, whole or in part."""
    name = f"ben-{uuid.uuid4().hex[:8]}"
    token = secured.token(name, Role.ROLE_CUSTOMER)
    with secured.channel(secured.address("product-service"), "product-service") as channel:
        path = "/ordersys.api.product.v1.ProductService/AdjustStock"
        assert raw(channel, path, b"", bearer(token)) == "NOT_PERMITTED"
    lines = [json.loads(line) for line in secured.system.services["product_service"].log.read_text().splitlines()]
    (line,) = [line for line in lines if line.get("caller") == f"customer {name}"]
    assert (line["method"], line["reason"]) == (path, "NOT_PERMITTED")
    assert line["peer"].startswith("ipv4:127.0.0.1:")


def test_no_secret_is_shown_anywhere(secured: Secured, tmp_path: Path) -> None:
    """In no log, command line or environment of a service, in none of their answers: no key and no token."""
    secured.of("anna").place()
    layout = secured.authority.layout
    secrets = [path.read_bytes().strip() for path in (*layout.folder.rglob("*.key"), *layout.folder.rglob("key.pem"))]
    bodies = [b"".join(secret.splitlines()[1:-1])[:40] for secret in secrets]
    tokens = [path.read_bytes().strip()[-40:] for path in layout.tokens.iterdir()]
    assert len(bodies) > 5
    assert len(tokens) > 2
    for service in secured.system.services.values():
        process = Path("/proc", str(service.pid))
        shown = service.log.read_bytes()
        if process.is_dir():
            shown += (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert [secret for secret in (*bodies, *tokens) if secret in shown] == []
