"""Traces of a real system on its live page: what services send, and the waterfall of an order in both its forms."""

import json
import os
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogStub
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.local import state
from ordersys.runtime.base.failpoints import VARIABLE
from tests.integration.api import eventually, new_id, placing
from tests.integration.live_page import LivePage, secured_with_page
from tests.integration.test_secured import SECONDS, Secured

pytestmark = pytest.mark.timeout(300)
BATCH = 16
LONG = 60.0
OF_ONE_ORDER = 10
"""Traces: its own; five commits, a call, a window, and an acknowledgement by each subscriber, shared with nobody."""
STEPS = {
    ("", "caller"),
    ("product-service", "ProductService/PlaceOrder"),
    ("product-service", "saga place_order"),
    ("product-service", "reserve"),
    ("product-service", "call"),
    ("order-service", "OrderService/BatchCreateOrders"),
    ("order-service", "create"),
    ("order-service", "create order.created"),
    ("order-service", "publish order.created"),
    *((f"notification-service-{number}", "process order.created") for number in (1, 2)),
    *((f"notification-service-{number}", "record") for number in (1, 2)),
    *((f"notification-service-{number}", f"ack notification-service-{number}.v1") for number in (1, 2)),
    ("product-service", "confirm"),
}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A system with identities and its page; nobody has said where spans go."""
    with secured_with_page(tmp_path_factory.mktemp("traces")) as secured:
        yield secured


def run(secured: Secured, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command of the client, as operator."""
    command = [sys.executable, "-m", "ordersys.grpc_client", "--data-dir", str(secured.system.folder), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORDERSYS_", "OTEL_"))}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONG, env=environment)


def traced(secured: Secured, order: str) -> Mapping[str, Any]:
    """The waterfall of an order, by the command line."""
    done = run(secured, "--json", "trace", order)
    assert done.returncode == 0, done.stdout + done.stderr
    (waterfall,) = json.loads(done.stdout)["traces"]
    assert isinstance(waterfall, dict)
    return waterfall


def placed_at_once(secured: Secured) -> Sequence[tuple[str, str]]:
    """A batch of orders, each with the trace of its caller; one subscriber gets their events all at once."""
    subscriber = psutil.Process(secured.system.services["notification_service_1"].pid)
    operator = secured.bearer("olga", Role.ROLE_OPERATOR)
    with (
        secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as products,
        secured.channel(secured.address("NOTIFICATION_SERVICE_2"), "notification-service-2") as log,
    ):
        stub = ProductServiceStub(products)

        def place(trace: str) -> str:
            context = ("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01")
            request = placing({"paper-a4": 1}, new_id())
            return str(stub.PlaceOrder(request, metadata=(*operator, context), timeout=SECONDS).order.id)

        def is_heard(order: str) -> bool:
            request = ListNotificationsRequest(order_id=order)
            answer = NotificationLogStub(log).ListNotifications(request, metadata=operator, timeout=SECONDS)
            return bool(answer.notifications)

        traces = [secrets.token_hex(16) for _ in range(BATCH)]
        subscriber.suspend()
        try:
            with ThreadPoolExecutor(BATCH) as pool:
                orders = list(pool.map(place, traces))
            eventually(lambda: all(is_heard(order) for order in orders))
        finally:
            subscriber.resume()
        return list(zip(orders, traces, strict=True))


def test_each_of_a_batch_is_one_waterfall_that_says_with_how_many_it_was_shared(secured: Secured) -> None:
    """Client, Product Service, saga, Order Service, outbox, publishing, both subscribers, records: one tree."""
    # From the first acknowledgement on a subscriber takes many at a time; and what is recorded shares nothing any more.
    traced(secured, json.loads(run(secured, "--json", "place", "paper-a4=1").stdout)["id"])
    batch = placed_at_once(secured)
    order, trace = batch[-1]
    waterfall = traced(secured, order)
    rows = waterfall["rows"]
    assert waterfall["trace"] == trace
    assert {(row["service"], row["label"]) for row in rows} == STEPS
    assert [row["depth"] for row in rows if row["parent"] == "" and row["others"] is None] == [0]
    known = {row["id"] for row in rows}
    assert not [row for row in rows if row["parent"] not in known and row["others"] is None and row["depth"]]
    assert secured.system.live is not None
    page = LivePage(secured.system.live.link)

    def sizes() -> Counter[int] | None:
        """Of the commits by which each of the batch was recorded, once they are those of all."""
        sizes = Counter(recorded_with(page, each) for each, _ in batch)
        return sizes if all(count % size == 0 for size, count in sizes.items()) else None

    size = max(eventually(sizes, LONG))  # which of them are committed together is for the machine to say
    assert size > 1
    order, trace = next((order, trace) for order, trace in batch if recorded_with(page, order) == size)
    drawn = run(secured, "trace", order).stdout
    assert f"record (shared with {size - 1} other" in drawn
    assert "ProductService/PlaceOrder" in drawn and trace in drawn


def recorded_with(page: LivePage, order: str) -> int:
    """The number of orders, itself among them, that the page says the first subscriber has recorded at once."""
    _, _, body = page.get(f"/live/orders/{order}/trace?key={page.key}")
    rows = (row for waterfall in json.loads(body)["traces"] for row in waterfall["rows"] if row["label"] == "record")
    return 1 + sum(row["others"] or 0 for row in rows if row["service"] == "notification-service-1")


def test_the_page_tells_the_same_with_its_own_key_and_no_other(secured: Secured) -> None:
    """And nothing else of the page is open to the key that lies in the folder."""
    order = json.loads(run(secured, "--json", "place", "paper-a4=1").stdout)["id"]
    waterfall = traced(secured, order)
    assert secured.system.live is not None
    running = state.running(str(secured.system.folder)).live
    file = Path(running["key_file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text()
    page = LivePage(secured.system.live.link)
    assert page.host == running["address"]
    status, _, body = page.get(f"/live/orders/{order.upper()}/trace?key={page.key}")
    assert status == 200 and json.loads(body)["traces"] == [waterfall]
    for path in (f"/live/orders/{order}/trace", f"/live/orders/{order}/trace?key={key}"):
        assert page.get(path)[0] == 403
    bearer = {"Authorization": f"Bearer {key}"}
    assert page.get(f"/live/orders/{order}/trace", **bearer)[0] == 200
    assert page.get(f"/live/orders/{order}", **bearer)[0] == 403
    assert page.get("/live/events", **bearer)[0] == 403
    for service in secured.system.services.values():
        assert service.pid is not None
        assert key not in " ".join(psutil.Process(service.pid).cmdline())


def test_a_change_of_an_order_is_a_waterfall_of_its_own(secured: Secured) -> None:
    """The oldest first."""
    order = json.loads(run(secured, "--json", "place", "paper-a4=1").stdout)["id"]
    run(secured, "cancel", order)
    waterfalls = json.loads(run(secured, "--json", "trace", order).stdout)["traces"]
    sagas = [row["label"] for waterfall in waterfalls for row in waterfall["rows"] if row["label"].startswith("saga")]
    assert sagas == ["saga place_order", "saga change_order"]


@contextmanager
def with_failpoint(secured: Secured, name: str, point: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A service as it runs there, but for what is to happen to it at that point; afterwards it runs as before."""
    service = secured.system.services[name]
    environment = {**psutil.Process(service.pid).environ(), VARIABLE: point}
    service.stop()
    command = [sys.executable, "-m", f"ordersys.{name}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()
    service.start()
    service.wait_healthy()


def deliveries(waterfall: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The rows of what the first subscriber was delivered."""
    rows = [row for row in waterfall["rows"] if row["label"] == "process order.created"]
    return [row for row in rows if row["service"] == "notification-service-1"]


def held(secured: Secured, order: str) -> Sequence[Mapping[str, Any]]:
    """The deliveries to the first subscriber that the page has been told of by now."""
    assert secured.system.live is not None
    page = LivePage(secured.system.live.link)
    _, _, body = page.get(f"/live/orders/{order}/trace?key={page.key}")
    return [row for waterfall in json.loads(body)["traces"] for row in deliveries(waterfall)]


def placed_before_a_kill(secured: Secured, point: str) -> str:
    """An order that the first subscriber had recorded, and had not acknowledged, when it was killed (-9)."""
    with with_failpoint(secured, "notification_service_1", point) as process:
        order = str(json.loads(run(secured, "--json", "place", "paper-a4=1").stdout)["id"])
        if point.endswith(":hang"):
            eventually(lambda: held(secured, order), LONG)
            process.kill()
        assert process.wait(LONG) == -signal.SIGKILL
    return order


def test_a_redelivery_is_a_row_of_its_own_in_the_trace_of_the_order(secured: Secured) -> None:
    """A subscriber is killed between record and acknowledgement, comes back, and takes the event again: one record."""
    order = placed_before_a_kill(secured, "consumer.recorded:1:hang")
    eventually(lambda: len(held(secured, order)) > 1, LONG)
    waterfall = traced(secured, order)
    first, second = deliveries(waterfall)
    assert (first["notes"], second["notes"]) == ([], ["redelivered", "delivered again: 2"])
    assert first["parent"] == second["parent"]
    assert [row["attributes"].get("ordersys.redelivered") for row in (first, second)] == [None, "True"]
    assert held(secured, order) == [first, second]
    (acknowledged,) = [row for row in waterfall["rows"] if row["label"] == "ack notification-service-1.v1"]
    assert acknowledged["start"] >= second["start"]
    assert "process order.created (redelivered, delivered again: 2)" in run(secured, "trace", order).stdout
    records = run(secured, "--output", "jsonl", "notifications", "--order", order).stdout
    assert len(records.splitlines()) == 2


def test_a_redelivery_says_so_where_the_first_delivery_died_with_its_process(secured: Secured) -> None:
    """A process that is killed at once sends no span of it any more."""
    order = placed_before_a_kill(secured, "consumer.recorded")
    eventually(lambda: held(secured, order), LONG)
    *_, last = deliveries(traced(secured, order))
    assert last["notes"][0] == "redelivered"
    assert "process order.created (redelivered" in run(secured, "trace", order).stdout


def test_an_event_that_is_published_again_after_a_kill_is_delivered_again_and_not_redelivered(secured: Secured) -> None:
    """The span of the first try died with its process, so that one try is shown; to RabbitMQ there are two messages."""
    customer = f"killed-{secrets.token_hex(4)}"
    with with_failpoint(secured, "order_service", "outbox.published") as process:
        run(secured, "place", "paper-a4=1", "--customer", customer)  # whatever it is answered: the order is there
        assert process.wait(LONG) == -signal.SIGKILL
    (order,) = json.loads(run(secured, "--json", "orders", "--customer", customer).stdout)
    eventually(lambda: len(held(secured, order["id"])) > 1, LONG)
    waterfall = traced(secured, order["id"])
    assert [row["notes"] for row in deliveries(waterfall)] == [[], ["delivered again: 2"]]
    published = [row for row in waterfall["rows"] if row["label"] == "publish order.created"]
    assert [row["attempt"] for row in published] == [1]


def shows(order: str, document: Mapping[str, Any]) -> bool:
    """True where the order is among the newest."""
    return order in (each["id"] for each in document["orders"])


def test_the_page_itself_makes_no_trace(secured: Secured) -> None:
    """It asks several times a second: orders would be driven out by what is of no interest to anybody."""
    live = secured.system.live
    assert live is not None
    with LivePage(live.link) as page:
        page.until(lambda document: document["checks"]["verdict"] == "even", LONG)
        held = []
        for _ in range(2):  # each is asked for until its spans have come, which takes a second and more
            order = json.loads(run(secured, "--json", "place", "paper-a4=1").stdout)["id"]
            page.until(partial(shows, order), LONG)
            assert traced(secured, order)["services"]
            _, _, body = page.get(f"/live/orders/{new_id()}/trace?key={page.key}")
            held.append(json.loads(body)["held"])
    assert held[1] - held[0] <= OF_ONE_ORDER


def test_services_are_told_where_the_page_is(secured: Secured) -> None:
    """By the variables of traces alone: whoever sends more sends it elsewhere."""
    live = secured.system.live
    assert live is not None
    for service in secured.system.services.values():
        environment = psutil.Process(service.pid).environ()
        assert environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == f"http://{live.address}/v1/traces"
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in environment


def test_an_order_that_is_not_there_and_one_without_a_trace_are_told_apart(secured: Secured) -> None:
    """With an exit status, and a reason for programs."""
    missing = run(secured, "--json", "trace", "01890000-0000-7000-8000-000000000001")
    assert missing.returncode == 1
    assert json.loads(missing.stdout)["error"]["reason"] == "ORDER_NOT_FOUND"
    product = "paper-a4"
    sampled = json.loads(run(secured, "--json", "place", "paper-a4=1").stdout)["id"]
    assert traced(secured, sampled)  # a page without any span has another reason
    with secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as channel:
        metadata = (
            *secured.bearer("olga", Role.ROLE_OPERATOR),
            ("traceparent", f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"),
        )
        answer = ProductServiceStub(channel).PlaceOrder(placing({product: 1}), metadata=metadata, timeout=SECONDS)
    unsampled = run(secured, "--json", "trace", answer.order.id)
    assert unsampled.returncode == 1
    assert json.loads(unsampled.stdout)["error"]["reason"] == "TRACE_NOT_HELD"


def test_a_page_that_is_killed_keeps_no_service_waiting(secured: Secured) -> None:
    """Orders go on; the page that comes back takes spans again, though it has forgotten the old ones."""
    live = secured.system.live
    assert live is not None and live.service.pid is not None
    psutil.Process(live.service.pid).kill()
    psutil.Process(live.service.pid).wait(SECONDS)
    began = time.monotonic()
    run(secured, "place", "paper-a4=1")
    away = run(secured, "trace", new_id())
    assert away.returncode == 3 and "does not answer" in away.stderr
    assert time.monotonic() - began < SECONDS
    secured.system.watch(lambda line: None)
    eventually(lambda: live.service.listens, LONG)

    def is_traced() -> bool:
        order = json.loads(run(secured, "--json", "place", "paper-a4=1").stdout)["id"]
        return run(secured, "trace", order).returncode == 0

    eventually(is_traced, LONG)
