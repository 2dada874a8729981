"""Connections of those who do not belong: in clear, by old protocols, with certificates of strangers, as impostors."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2 import ItemQuantity, PlaceOrderRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.contract.addresses import parse
from ordersys.local import ports
from tests.integration.api import eventually, reason
from tests.integration.attacks.alone import alone
from tests.integration.attacks.strangers import NOT_LET_IN, OF_NO_SERVICE, credentials, issuer
from tests.integration.test_secured import SECONDS, Secured, unavailable

pytestmark = pytest.mark.timeout(400)  # for the first, which starts the system
PORTS = (
    "PRODUCT_SERVICE",
    "ORDER_SERVICE",
    "ORDER_SERVICE_INTERNAL",
    "NOTIFICATION_SERVICE_1",
    "NOTIFICATION_SERVICE_2",
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"  # RFC 9113 §3.4, and empty SETTINGS
OLD_REQUEST = b"GET / HTTP/1.1\r\nHost: order-service\r\n\r\n"
HALF_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(100)  # a ClientHello of 512 octets that stops early
ALERT = b"\x15\x03"
HANDSHAKE_SECONDS = 5
NAMES = ("order-service", "product-service", "notification-service-1", "notification-service-2")
every_port = pytest.mark.parametrize("port", PORTS)


def connected(secured: Secured, port: str) -> socket.socket:
    """A TCP connection to a service."""
    return socket.create_connection(parse(secured.address(port)), SECONDS)


def answer(connection: socket.socket, octets: bytes) -> bytes:
    """The octets that come back until the other side closes. Raises TimeoutError where it does not."""
    said = b""
    try:
        connection.sendall(octets)
        while part := connection.recv(4096):
            said += part
    except (ConnectionError, ssl.SSLError):
        pass  # closed without a farewell
    return said


def context(secured: Secured, port: str) -> ssl.SSLContext:
    """That of a client who trusts the authority, with the Product Service's certificate where one is asked for."""
    layout = secured.authority.layout
    made = ssl.create_default_context(cafile=str(layout.ca))
    if port.endswith("_INTERNAL"):
        made.load_cert_chain(layout.certificate("product-service"), layout.key("product-service"))
    return made


def encrypted(secured: Secured, port: str, by: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection to a service."""
    service = port.removesuffix("_INTERNAL").lower().replace("_", "-")
    return by.wrap_socket(connected(secured, port), server_hostname=service)


@every_port
@pytest.mark.parametrize("octets", [PREFACE, OLD_REQUEST], ids=["HTTP/2", "HTTP/1.1"])
def test_in_clear_nothing_is_said(secured: Secured, port: str, octets: bytes) -> None:
    """The connection is closed, with an alert of TLS at most."""
    with connected(secured, port) as connection:
        said = answer(connection, octets)
    assert said == b"" or said.startswith(ALERT)


@every_port
@pytest.mark.parametrize("protocols", [[], ["http/1.1"]], ids=["none", "http/1.1"])
def test_without_h2_nothing_is_said(secured: Secured, port: str, protocols: list[str]) -> None:
    """ALPN has to name it (RFC 9113 §3.2); to another protocol the connection is closed."""
    by = context(secured, port)
    if protocols:
        by.set_alpn_protocols(protocols)
    for octets in (OLD_REQUEST, PREFACE):
        with encrypted(secured, port, by) as connection:
            assert answer(connection, octets) == b""


@every_port
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        pytest.param(ssl.TLSVersion.TLSv1, "ALL", id="TLS 1.0"),
        pytest.param(ssl.TLSVersion.TLSv1_1, "ALL", id="TLS 1.1"),
        pytest.param(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384", id="CBC"),
        pytest.param(ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:AES128-SHA", id="static RSA"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_protocols_and_ciphers_are_refused(
    secured: Secured, port: str, version: ssl.TLSVersion, ciphers: str
) -> None:
    """By the service, not by the client's own library."""
    by = context(secured, port)
    by.set_alpn_protocols(["h2"])
    by.minimum_version = by.maximum_version = version
    by.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)) as refused:
        encrypted(secured, port, by)
    assert "_NO_" not in str(refused.value)  # such as NO_PROTOCOLS_AVAILABLE: the client's own words


@every_port
def test_tls_1_2_is_spoken_with_authenticated_encryption(secured: Secured, port: str) -> None:
    """So those above are refused for what they are."""
    by = context(secured, port)
    by.set_alpn_protocols(["h2"])
    by.maximum_version = ssl.TLSVersion.TLSv1_2
    with encrypted(secured, port, by) as connection:
        cipher = connection.cipher()
        assert cipher is not None
        assert "GCM" in cipher[0]


def at_internal_port(secured: Secured, shown: grpc.ChannelCredentials) -> grpc.Channel:
    """A connection to the address for services."""
    options = (("grpc.ssl_target_name_override", "order-service"), ("grpc.use_local_subchannel_pool", 1))
    return grpc.secure_channel(secured.address("ORDER_SERVICE_INTERNAL"), shown, options=options)


@pytest.mark.parametrize("stranger", NOT_LET_IN)
def test_a_certificate_that_proves_nothing_opens_no_connection(secured: Secured, stranger: str) -> None:
    """Though it has the id of the Product Service; an operator's token beside it does not help."""
    layout = secured.authority.layout
    shown = credentials(layout, NOT_LET_IN[stranger](issuer(layout), layout))
    with at_internal_port(secured, shown) as channel:
        assert unavailable(channel, secured.bearer("olga", Role.ROLE_OPERATOR))


@pytest.mark.parametrize("stranger", OF_NO_SERVICE)
def test_a_certificate_without_the_one_id_gives_no_right(secured: Secured, stranger: str) -> None:
    """Though our authority has signed it, for the name of the Product Service."""
    layout = secured.authority.layout
    with at_internal_port(secured, credentials(layout, OF_NO_SERVICE[stranger](issuer(layout)))) as channel:
        for method in ("BatchCreateOrders", "ListOrders"):
            call: Any = channel.unary_unary(f"/ordersys.api.order.v1.OrderService/{method}")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=SECONDS)
            assert reason(refused.value) == "NOT_PERMITTED"


class Calls(grpc.GenericRpcHandler):
    """Takes the names of the calls that reach a server."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    def service(self, handler_call_details: Any) -> None:
        """Serves none of them."""
        self.methods.append(handler_call_details.method)


@contextmanager
def impostor(secured: Secured, name: str) -> Iterator[tuple[str, Calls]]:
    """The address of a server with the certificate of the service `name`, and the calls that reach it."""
    layout, calls = secured.authority.layout, Calls()
    pair = (layout.key(name).read_bytes(), layout.certificate(name).read_bytes())
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, [calls])
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        server.start()
        try:
            yield f"127.0.0.1:{port}", calls
        finally:
            server.stop(None).wait()


def test_an_impostor_at_the_order_services_address_is_told_nothing(secured: Secured, tmp_path: Path) -> None:
    """Though it is a service of ours: the order stays open, and the log says why."""
    with ExitStack() as stack:
        address, calls = stack.enter_context(impostor(secured, "notification-service-1"))
        settings = {"ORDER_SERVICE_INTERNAL_ADDRESS": address, "CALL_TIMEOUT_SECONDS": "1"}
        product = stack.enter_context(alone(secured, "product_service", tmp_path, **settings))
        channel = stack.enter_context(secured.channel(product.address, "product-service"))
        items = [ItemQuantity(product_id="paper-a4", quantity=1)]
        request = PlaceOrderRequest(request_id=str(uuid.uuid4()), items=items)
        with pytest.raises(grpc.RpcError) as opened:
            ProductServiceStub(channel).PlaceOrder(
                request, metadata=secured.bearer("anna", Role.ROLE_CUSTOMER), timeout=SECONDS
            )
        assert reason(opened.value) == "OUTCOME_OPEN"
        eventually(lambda: "can't be trusted" in product.log.read_text(), SECONDS)
        assert calls.methods == []


def test_the_client_shows_an_impostor_no_token(secured: Secured) -> None:
    """Neither one with the certificate of another service, nor one that speaks in clear: not an octet of it."""
    layout = secured.authority.layout
    settings = {"ORDERSYS_CA_FILE": str(layout.ca), "ORDERSYS_TOKEN_FILE": str(layout.token("anna"))}
    token = layout.token("anna").read_bytes().strip()
    with impostor(secured, "notification-service-1") as (address, calls), eavesdropper() as (clear, heard):
        for place in (address, clear):
            asked = subprocess.run(
                [sys.executable, "-m", "ordersys.grpc_client", "products"],
                env={**os.environ, **settings, "ORDERSYS_PRODUCT_SERVICE_ADDRESS": place},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert asked.returncode != 0
            assert token.decode() not in asked.stdout + asked.stderr
        assert calls.methods == []
    assert heard
    assert all(part not in bytes(heard) for part in token.split(b"."))


@contextmanager
def eavesdropper() -> Iterator[tuple[str, bytearray]]:
    """The address of somebody who speaks HTTP/2 in clear, and what he has heard."""
    heard = bytearray()
    with socket.create_server((ports.LOOPBACK, 0)) as listening:

        def listen() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(1)
                    connection.sendall(PREFACE[24:])
                    heard.extend(_all_of(connection))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"{ports.LOOPBACK}:{listening.getsockname()[1]}", heard
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _all_of(connection: socket.socket) -> bytes:
    try:
        return answer(connection, b"")
    except TimeoutError:
        return b""


def test_silent_connections_keep_nobody_out_for_long(secured: Secured, tmp_path: Path) -> None:
    """Twice as many as are let in, half of them with half a greeting: each is closed, and little is said of it."""
    most = 30
    with (
        alone(secured, "order_service", tmp_path, MAX_CONNECTIONS=str(most)) as order,
        ExitStack() as stack,
    ):
        memory, said = order.memory, order.log.read_text().count("\n")
        silent = [stack.enter_context(socket.create_connection(parse(order.address), SECONDS)) for _ in range(2 * most)]
        for connection in silent[::2]:
            connection.sendall(HALF_HELLO)
        for connection in silent:
            connection.settimeout(2 * HANDSHAKE_SECONDS)
            answer(connection, b"")  # it is closed: else this would not return
        with secured.channel(order.address, "order-service") as channel:
            metadata = secured.bearer("anna", Role.ROLE_CUSTOMER)
            OrderServiceStub(channel).ListOrders(ListOrdersRequest(), metadata=metadata, timeout=SECONDS)
        assert order.memory < memory + 32 * 1024 * 1024
        assert order.log.read_text().count("\n") <= said + 5


def test_files_that_cannot_be_used_change_nothing(secured: Secured) -> None:
    """Each service has another kind: one line of its log names the file, once, and it serves on as before."""
    layout = secured.authority.layout
    order, product, first, second = NAMES
    expired = issuer(layout).issue(days=(-2, -1))
    bad = {
        order: layout.certificate(order),
        product: layout.key(product),
        first: layout.key(first),
        second: layout.certificate(second),
    }
    try:
        halved(bad[order])
        shutil.copyfile(layout.key(first), bad[product])
        bad[first].unlink()
        bad[second].write_bytes(expired.chain_pem)
        for name, file in bad.items():
            (trouble,) = eventually(partial(errors, secured, name, file))
            assert "the old one stays in use" in trouble
        secured.place("anna")
    finally:
        for name in NAMES:
            secured.authority.certificate(name)
    for name, file in bad.items():
        eventually(partial(is_taken_again, secured, name))
        assert len(errors(secured, name, file)) == 1
    secured.place("anna")


def halved(file: Path) -> None:
    """As a copy that has not come to its end."""
    file.write_bytes(file.read_bytes()[:200])


def lines(secured: Secured, name: str) -> list[dict[str, Any]]:
    """The log of a service."""
    log = secured.system.services[name.replace("-", "_")].log.read_text(encoding="utf-8")
    return [json.loads(line) for line in log.splitlines()]


def errors(secured: Secured, name: str, file: Path) -> list[str]:
    """The errors of a log that name a file."""
    said = [line["message"] for line in lines(secured, name) if line["level"] == "error"]
    return [message for message in said if str(file) in message]


def is_taken_again(secured: Secured, name: str) -> bool:
    """True where the last word of a log about certificates is that one was taken."""
    said = [line["message"] for line in lines(secured, name) if str(secured.authority.layout.folder) in line["message"]]
    return bool(said) and "is taken" in said[-1]
