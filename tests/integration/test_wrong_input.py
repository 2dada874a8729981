"""Wrong input of every kind gets a clear answer that names the thing, and loses nothing."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest

from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, ListOrdersRequest
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderRequest,
    CreateProductRequest,
    GetProductRequest,
    ListProductsRequest,
    PlaceOrderRequest,
)
from ordersys.contract import descriptors
from ordersys.identity.authority import Authority
from ordersys.local import ports
from ordersys.local.system import SERVICES, System
from ordersys.product_service.settings import PRODUCTS_FILE
from tests.integration.api import SECONDS, Api, new_id, placing, reason, status

SERVED = [
    method
    for service in descriptors.services()
    if service.name in ("ProductService", "OrderService")
    for method in service.methods
]
GARBAGE = {
    "truncated": placing({"paper-a4": 1}).SerializeToString()[:-3],
    "random": bytes(range(255, 0, -7)),
    "deep": b"\x1a\x7f" * 200,
}


def raw_call(api: Api, path: str, body: bytes) -> grpc.RpcError:
    """The answer to a call with these bytes."""
    channel = api.order_channel if "OrderService" in path else api.product_channel
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(path, request_serializer=bytes)(body, timeout=SECONDS)
    return refused.value


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("method", SERVED, ids=descriptors.path)
def test_bytes_that_are_no_message_are_invalid_with_a_constant_text(api: Api, method: object, garbage: str) -> None:
    """No class name, no parser's words: INVALID_ARGUMENT, whatever the bytes."""
    error = raw_call(api, descriptors.path(method), GARBAGE[garbage])  # type: ignore[arg-type]
    refusal = status(error)
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert reason(error) in ("UNDECODABLE_REQUEST", "INVALID_REQUEST")
    assert "Error" not in refusal.message


@pytest.mark.parametrize("path", ["product.v1.ProductService/GetProduct", "order.v1.OrderService/GetOrder"])
def test_invalid_utf8_is_undecodable(api: Api, path: str) -> None:
    """A string that is none is not parsed in some other way."""
    assert reason(raw_call(api, f"/ordersys.api.{path}", b"\x0a\x02\xff\xfe")) == "UNDECODABLE_REQUEST"


def test_each_broken_rule_is_named_with_its_field(api: Api) -> None:
    """The path of every field that breaks a rule stands in the details."""
    request = placing({"Not A Slug": 0, "fine": 1001}, request_id="no uuid")
    with pytest.raises(grpc.RpcError) as refused:
        api.products.PlaceOrder(request, timeout=SECONDS)
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in status(refused.value).details)
    fields = {violation.field for violation in bad.field_violations}
    assert fields == {"request_id", "items[0].product_id", "items[0].quantity", "items[1].quantity"}


@pytest.mark.parametrize(
    ("service", "rpc", "request_", "expected"),
    [
        ("products", "GetProduct", GetProductRequest(product_id="no-such-product"), "PRODUCT_NOT_FOUND"),
        ("products", "PlaceOrder", placing({"no-such-product": 1}), "PRODUCT_NOT_FOUND"),
        ("products", "CancelOrder", CancelOrderRequest(request_id=new_id(), order_id=new_id()), "ORDER_NOT_FOUND"),
        ("products", "PlaceOrder", PlaceOrderRequest(), "INVALID_REQUEST"),
        ("products", "ListProducts", ListProductsRequest(page_size=-1), "INVALID_REQUEST"),
        ("products", "ListProducts", ListProductsRequest(page_token="bm90IG91cnM="), "PAGE_TOKEN_INVALID"),
        ("orders", "GetOrder", GetOrderRequest(order_id=new_id()), "ORDER_NOT_FOUND"),
        ("orders", "ListOrders", ListOrdersRequest(page_token="!"), "PAGE_TOKEN_INVALID"),
    ],
)
def test_each_mistake_has_its_reason(api: Api, service: str, rpc: str, request_: object, expected: str) -> None:
    """Clients can decide on the reason alone."""
    with pytest.raises(grpc.RpcError) as refused:
        getattr(getattr(api, service), rpc)(request_, timeout=SECONDS)
    assert reason(refused.value) == expected


def test_a_product_id_that_is_taken_is_refused(api: Api) -> None:
    """ALREADY_EXISTS, and the product there was stays as it is."""
    product_id = api.new_product(5)
    product = api.products.GetProduct(GetProductRequest(product_id=product_id)).product
    product.available = 99
    with pytest.raises(grpc.RpcError) as refused:
        api.products.CreateProduct(CreateProductRequest(request_id=new_id(), product=product), timeout=SECONDS)
    assert reason(refused.value) == "PRODUCT_ALREADY_EXISTS"
    assert api.stock(product_id) == (5, 0)


def test_a_message_over_the_limit_is_resource_exhausted(api: Api) -> None:
    """5 MB where 4 are taken."""
    error = raw_call(api, "/ordersys.api.product.v1.ProductService/PlaceOrder", b"x" * 5_000_000)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_page_goes_on_where_the_last_ended(api: Api) -> None:
    """Pages neither skip nor repeat, whatever their size."""
    for _ in range(3):
        api.new_product(1)
    whole = api.products.ListProducts(ListProductsRequest(page_size=10_000), timeout=SECONDS).products
    request = ListProductsRequest(page_size=7)
    seen: list[Product] = []
    while True:
        page = api.products.ListProducts(request, timeout=SECONDS)
        seen += page.products
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [product.id for product in seen] == [product.id for product in whole]


def copied(source: Path, target: Path) -> None:
    """A copy of a database that is in use."""
    with closing(sqlite3.connect(source)) as used, closing(sqlite3.connect(target)) as copy:
        used.backup(copy)


def dumped(file: Path) -> list[str]:
    """All that a database holds."""
    with closing(sqlite3.connect(file)) as database:
        return list(database.iterdump())


def start(module: str, folder: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    """A service that can't start with what it is given."""
    addresses = {f"ORDERSYS_{name.upper()}_ADDRESS": f"127.0.0.1:{port}" for name, port in _free().items()}
    environment = {**os.environ, **addresses, "ORDERSYS_DATA_DIR": str(folder), **changes}
    command = [sys.executable, "-m", f"ordersys.{module}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def _free() -> dict[str, int]:
    return dict(zip(SERVICES, ports.free(len(SERVICES)), strict=True))


def assert_one_line(done: "subprocess.CompletedProcess[str]", *named: str) -> None:
    """Exit status 2 and one line of standard error with everything that has to be named."""
    assert done.returncode == 2, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for name in named:
        assert name in done.stderr


@pytest.mark.parametrize("value", ["yes", "trusted", "checked,any"])
def test_publishers_are_checked_or_not_and_nothing_else(tmp_path: Path, value: str) -> None:
    """One line with the choices."""
    done = start("notification_service_1", tmp_path / "data", ORDERSYS_PUBLISHER_USERS=value)
    assert_one_line(done, "ORDERSYS_PUBLISHER_USERS", value, "checked, any")


def test_publishers_can_not_be_checked_where_services_share_a_user(tmp_path: Path) -> None:
    """Each event would be a dead letter: the service does not start, and names the way out."""
    url = "amqp://everybody:geheim@127.0.0.1:1/%2F"
    done = start("notification_service_1", tmp_path / "data", ORDERSYS_PUBLISHER_USERS="checked", ORDERSYS_AMQP_URL=url)
    assert_one_line(done, "'everybody'", "notification-service-1", "ORDERSYS_PUBLISHER_USERS=any")
    assert "geheim" not in done.stderr


@pytest.mark.parametrize("module", SERVICES)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ORDERSYS_AMQP_URL", "rabbit"),
        ("ORDERSYS_GRACE_SECONDS", "soon"),
        ("ORDERSYS_MAX_CONCURRENT_CALLS", "0"),
        ("ORDERSYS_LOG_LEVEL", "loud"),
        ("ORDERSYS_REFLECTION", "perhaps"),
        ("ORDERSYS_REFLECTION", "'true'"),
        ("ORDERSYS_DATA_DIR", "~nobody-by-that-name/x"),
    ],
)
def test_a_wrong_setting_is_answered_by_one_line_that_names_it(
    module: str, variable: str, value: str, tmp_path: Path
) -> None:
    """Every service, every setting: the variable, and what it must be."""
    assert_one_line(start(module, tmp_path, **{variable: value}), variable, "must be")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@host",
        "amqp://user@127.0.0.1:1/%2F",
        "amqp://user:12/secret@127.0.0.1:1/%2F",
        "amqp://user:secret@127.0.0.1:1/a/b",
        "amqp://user:secret@127.0.0.1:1/%2F?connection_timeout=30000",
        "amqp://user:secret@127.0.0.1:1/%2F?heartbeat=soon",
        "amqps://user:secret@127.0.0.1:1/%2F?ssl_options={'ca_certs':'/none'}",
        "amqp://user:secret@127.0.0.1:1/%2F?frame_max=1,amqp://127.0.0.1:1",
    ],
)
def test_a_url_that_cant_be_used_stops_the_start_and_is_not_printed(tmp_path: Path, url: str) -> None:
    """The variable is named, its value is not; nothing serves that would publish nothing."""
    done = start("order_service", tmp_path, ORDERSYS_AMQP_URL=url)
    assert_one_line(done, "ORDERSYS_AMQP_URL must be an AMQP URL", "number 1 of 2" if "," in url else ": it ")
    assert "secret" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_octets_that_are_no_text_are_no_folder(tmp_path: Path) -> None:
    """SQLite could not open it."""
    done = start("order_service", tmp_path, ORDERSYS_DATA_DIR=os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert_one_line(done, "ORDERSYS_DATA_DIR", "must be a path in UTF-8")


def test_a_folder_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """They could put another database there; with other things in it, it is not ours alone to close."""
    (tmp_path / "something").touch()
    tmp_path.chmod(0o777)
    assert_one_line(start("order_service", tmp_path), f"others may write to its folder {tmp_path}", "chmod go-w")
    assert list(tmp_path.iterdir()) == [tmp_path / "something"]


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("::1:50052", "[::1]:50052"),
        ("*:50052", "all interfaces"),
        ("[127.0.0.1]:50052", "IPv6"),
        ("http://127.0.0.1:50052", "scheme"),
        ("unix:/tmp/x", "path"),
        ("user@host:50052", "user"),
    ],
)
def test_an_address_that_cant_be_listened_on_stops_the_start(tmp_path: Path, address: str, named: str) -> None:
    """One line, with what it must be or why it can't be used."""
    done = start("order_service", tmp_path, ORDERSYS_ORDER_SERVICE_ADDRESS=address)
    assert_one_line(done, address, named)


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("192.0.2.1:50052", "cannot assign requested address"),
        ("no-such-host.invalid:50052", "can't be listened on"),
    ],
)
def test_an_address_that_is_not_of_this_machine_stops_the_start(tmp_path: Path, address: str, named: str) -> None:
    """Of a service that others may reach, which has an identity."""
    authority = Authority.make(tmp_path / "identity")
    authority.renew()
    identity = authority.layout.service_environment("order-service")
    internal = f"127.0.0.1:{ports.free(1)[0]}"
    done = start(
        "order_service",
        tmp_path,
        ORDERSYS_INSECURE="false",
        ORDERSYS_ORDER_SERVICE_ADDRESS=address,
        ORDERSYS_ORDER_SERVICE_INTERNAL_ADDRESS=internal,
        **identity,
    )
    assert_one_line(done, address, named)


@pytest.mark.parametrize("address", ["http://127.0.0.1:50052", "127.0.0.1", "127.0.0.1:50052/"])
def test_an_address_nobody_can_be_asked_at_stops_the_start(tmp_path: Path, address: str) -> None:
    """A service that started would serve and have every order end open."""
    done = start("product_service", tmp_path, ORDERSYS_ORDER_SERVICE_ADDRESS=address)
    assert_one_line(done, "ORDERSYS_ORDER_SERVICE_ADDRESS", address, "HOST:PORT")


def test_two_services_at_one_address_are_refused(tmp_path: Path) -> None:
    """By the one that knows both."""
    address = f"127.0.0.1:{ports.free(1)[0]}"
    both = {"ORDERSYS_ORDER_SERVICE_ADDRESS": address, "ORDERSYS_PRODUCT_SERVICE_ADDRESS": address}
    assert_one_line(start("product_service", tmp_path, **both), *both, address)


def test_a_variable_that_looks_like_a_setting_is_told(tmp_path: Path) -> None:
    """Before anything else: here before it can't start."""
    (tmp_path / "order.db").write_bytes(b"my holiday pictures" * 100)
    done = start("order_service", tmp_path, ORDERSYS_GRACE_SECOND="1")
    assert "ORDERSYS_GRACE_SECOND is no setting and has no effect; ORDERSYS_GRACE_SECONDS is one" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"id": "oak-desk"', '"id": "Oak Desk"', ("entry 1", "id", "lower-case")),
        ('"id": "standing-desk"', '"id": "oak-desk"', ("entry 2", "id", "stands in entry 1 already")),
        ('"units": "489"', '"units": "-1"', ("entry 1", "unit_price", "EUR")),
        ('"name": "Oak desk"', '"title": "Oak desk"', ("entry 1", "title")),
        ('"available": "380"', '"available": "1"', ("orders.json", "footrest", "1 there")),
        ('"id": "footrest"', '"id": "hassock"', ("orders.json", "no product", "footrest")),
    ],
)
def test_an_error_in_a_file_stops_the_start_and_is_named(
    tmp_path: Path, old: str, new: str, named: tuple[str, ...]
) -> None:
    """File, entry and field; the next start with a mended file begins anew."""
    file = tmp_path / "products.json"
    known = PRODUCTS_FILE.read_text()
    assert old in known
    file.write_text(known.replace(old, new))
    assert_one_line(start("product_service", tmp_path, ORDERSYS_PRODUCTS_FILE=str(file)), *named)


def test_a_database_of_a_newer_release_is_refused_and_kept(system: System, tmp_path: Path) -> None:
    """The version is named, and nothing in the file changes."""
    file = tmp_path / "order.db"
    copied(system.folder / "databases" / "order.db", file)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE schema_version SET version = 99")
    before = dumped(file)
    assert_one_line(start("order_service", tmp_path), str(file), "99", "newer")
    assert dumped(file) == before


def test_a_database_of_another_service_is_refused(system: System, tmp_path: Path) -> None:
    """The line says whose database it is."""
    copied(system.folder / "databases" / "product.db", tmp_path / "order.db")
    assert_one_line(start("order_service", tmp_path), "product-service")


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    """Something else by that name is never written over."""
    file = tmp_path / "order.db"
    file.write_bytes(b"my holiday pictures" * 100)
    assert_one_line(start("order_service", tmp_path), str(file))
    assert file.read_bytes() == b"my holiday pictures" * 100


def test_an_address_in_use_is_named(system: System, tmp_path: Path) -> None:
    """The second service on one address says which, and ends."""
    address = system.environment["ORDERSYS_ORDER_SERVICE_ADDRESS"]
    done = start("order_service", tmp_path, ORDERSYS_ORDER_SERVICE_ADDRESS=address)
    assert_one_line(done, address, "already in use")


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    """The database's path is in the line."""
    (tmp_path / "file").write_text("")
    assert_one_line(start("order_service", tmp_path / "file"), str(tmp_path / "file"))
