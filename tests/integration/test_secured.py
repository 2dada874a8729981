"""A system with identities beside what its laws say: connections, rotation, its log, its secrets, its client.

The laws of rights: tests/contract/laws/security.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest, ItemQuantity, PlaceOrderRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.identity.authority import Authority
from ordersys.local.system import SERVICES, Choices, System
from tests import virtual_host
from tests.integration.conftest import quietly, skip_without_rabbitmq

SECONDS = 10.0


class Secured(NamedTuple):
    """A running system, and the authority that vouches for it."""

    system: System
    authority: Authority

    def channel(self, address: str, service: str) -> grpc.Channel:
        """A connection to a service at `address`, without a certificate."""
        credentials = grpc.ssl_channel_credentials(self.authority.layout.ca.read_bytes())
        return grpc.secure_channel(address, credentials, options=(("grpc.ssl_target_name_override", service),))

    def address(self, service: str) -> str:
        """The address that a setting has, such as PRODUCT_SERVICE."""
        return self.system.environment[f"ORDERSYS_{service}_ADDRESS"]

    def bearer(self, name: str, *roles: Any) -> tuple[tuple[str, str], ...]:
        """The metadata that carries a new token of somebody."""
        return (("authorization", f"Bearer {self.authority.token(name, roles)}"),)

    def place(self, customer: str) -> None:
        """Places an order of a customer."""
        request = PlaceOrderRequest(
            request_id=str(uuid.uuid4()), items=[ItemQuantity(product_id="paper-a4", quantity=1)]
        )
        metadata = self.bearer(customer, Role.ROLE_CUSTOMER)
        with self.channel(self.address("PRODUCT_SERVICE"), "product-service") as channel:
            ProductServiceStub(channel).PlaceOrder(request, metadata=metadata, timeout=SECONDS)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The whole system with identities; against the broker of ORDERSYS_TEST_AMQP_URL where that is set."""
    folder = tmp_path_factory.mktemp("secured")
    if (given := virtual_host.given()) is None:
        skip_without_rabbitmq()
        with System(folder, quietly, Choices(secure=True)) as system:
            yield _of(system)
        return
    with virtual_host.emptied(given) as url, System(folder, quietly, Choices(secure=True, amqp_url=url)) as system:
        yield _of(system)


def _of(system: System) -> Secured:
    assert system.identities is not None
    return Secured(system, Authority(system.identities.layout.folder))


def unavailable(channel: grpc.Channel, metadata: Any = ()) -> bool:
    """True where no call is answered, not even with a refusal."""
    with pytest.raises(grpc.RpcError) as refused:
        OrderServiceStub(channel).ListOrders(ListOrdersRequest(), metadata=metadata, timeout=SECONDS)
    return bool(refused.value.code() is grpc.StatusCode.UNAVAILABLE)


def test_the_address_for_services_is_for_those_with_a_certificate(secured: Secured) -> None:
    """Nobody else gets a connection, whatever token he has."""
    token = secured.bearer("olga", Role.ROLE_OPERATOR)
    with secured.channel(secured.address("ORDER_SERVICE_INTERNAL"), "order-service") as channel:
        assert unavailable(channel, token)


@pytest.mark.parametrize("service", ["PRODUCT_SERVICE", "ORDER_SERVICE", "NOTIFICATION_SERVICE_1"])
def test_nothing_is_answered_in_clear(secured: Secured, service: str) -> None:
    """Also not what everybody may ask."""
    with grpc.insecure_channel(secured.address(service)) as channel:
        assert unavailable(channel)


def test_a_certificate_is_renewed_without_a_restart(secured: Secured) -> None:
    """Both that of the one who calls and that of the one who is called; no call fails meanwhile."""
    before = certificate(secured)
    for name in ("order-service", "product-service"):
        secured.authority.certificate(name)
    for _ in range(1000):
        secured.place("anna")
        if certificate(secured) != before:
            break
    assert certificate(secured) != before
    secured.place("anna")


def certificate(secured: Secured) -> str:
    """The certificate that the Order Service shows now."""
    host, _, port = secured.address("ORDER_SERVICE").rpartition(":")
    context = ssl.create_default_context(cafile=str(secured.authority.layout.ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="order-service") as encrypted,
    ):
        return ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True) or b"")


def test_a_refused_call_is_one_line_of_the_log(secured: Secured) -> None:
    """With its caller, method, reason and peer."""
    name = f"ben-{uuid.uuid4().hex[:8]}"
    token = secured.bearer(name, Role.ROLE_CUSTOMER)
    with (
        secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as channel,
        pytest.raises(grpc.RpcError),
    ):
        ProductServiceStub(channel).AdjustStock(AdjustStockRequest(), metadata=token, timeout=SECONDS)
    log = secured.system.services["product_service"].log.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("caller") == f"customer {name}"]
    assert (line["method"], line["reason"]) == (
        "/ordersys.api.product.v1.ProductService/AdjustStock",
        "NOT_PERMITTED",
    )
    assert line["peer"].startswith("ipv4:127.0.0.1:")


def test_no_secret_is_shown_anywhere(secured: Secured) -> None:
    """In no log, command line or environment of a service, and not in the state file: no key and no token."""
    secured.place("anna")
    layout = secured.authority.layout
    keys = [path.read_bytes() for path in (*layout.folder.rglob("*.key"), *layout.folder.rglob("key.pem"))]
    bodies = [b"".join(key.splitlines()[1:-1])[:40] for key in keys]
    tokens = [path.read_bytes().strip()[-40:] for path in layout.tokens.iterdir()]
    assert len(bodies) > 5
    assert len(tokens) > 2
    shown = (secured.system.folder / "running.json").read_bytes()
    for service in secured.system.services.values():
        process = Path("/proc", str(service.pid))
        shown += service.log.read_bytes()
        if process.is_dir():
            shown += (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert [secret for secret in (*bodies, *tokens) if secret in shown] == []


def client(secured: Secured, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """The command line, in an environment that says nothing of this system but the folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")}
    command = [sys.executable, "-m", "ordersys.grpc_client", "--data-dir", str(secured.system.folder), *words]
    return subprocess.run(
        command, env={**environment, **settings}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_doctor_says_what_keeps_a_client_from_an_encrypted_service(secured: Secured, tmp_path: Path) -> None:
    """No authority, or another one: neither is called a service that does not answer as one."""
    addresses = {f"ORDERSYS_{name.upper()}_ADDRESS": secured.address(name.upper()) for name in SERVICES}
    command = [sys.executable, "-m", "ordersys.grpc_client", "doctor"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")}
    foreign = Authority.make(tmp_path / "foreign")
    foreign.renew()
    for settings, words in (
        ({}, "wants encryption"),
        ({"ORDERSYS_CA_FILE": str(foreign.layout.ca)}, "ORDERSYS_CA_FILE vouches for"),
    ):
        environment = {**clean, **addresses, **settings}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.count(words) == len(SERVICES), done.stdout


def test_the_client_finds_its_credentials_by_the_folder(secured: Secured) -> None:
    """It calls as the operator, and as a customer where his token is named; each trouble has its way out."""
    layout = secured.authority.layout
    assert client(secured, "status").returncode == 0
    assert client(secured, "restock", "paper-a4", "5").returncode == 0
    anna = {"ORDERSYS_CA_FILE": str(layout.ca), "ORDERSYS_TOKEN_FILE": str(layout.token("anna"))}
    placed = client(secured, "place", "paper-a4=1", "--json", **anna)
    assert json.loads(placed.stdout)["customer_id"] == "anna"
    refused = client(secured, "restock", "paper-a4", "5", **anna)
    assert refused.returncode == 1
    assert "Who calls may not do this" in refused.stderr
    assert f"You have shown the token in '{layout.token('anna')}', anna's." in refused.stderr
    assert layout.token("anna").read_text(encoding="utf-8").strip() not in refused.stderr
    anonymous = client(secured, "orders", ORDERSYS_CA_FILE=str(layout.ca))
    assert anonymous.returncode == 1
    assert "ORDERSYS_TOKEN_FILE" in anonymous.stderr
    alone = {"ORDERSYS_TOKEN_FILE": str(layout.token("anna"))}
    assert client(secured, "orders", "-o", "id", **alone).returncode == 0
