"""The live page of a real system: says what the API says, and what is wrong within two seconds."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import psutil
import pytest
from pika import BasicProperties

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.live.records import state
from tests.integration.api import eventually
from tests.integration.live_page import LivePage, secured_with_page
from tests.integration.test_secured import SECONDS, Secured
from tests.integration.test_secured_broker import connected

pytestmark = pytest.mark.timeout(300)
SOON = 2.0
"""What is promised, in seconds."""
LONG = 90.0
HOSTILE = "<img src=x onerror=document.title='broken'>"
Document = Mapping[str, Any]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A system with identities and its page."""
    with secured_with_page(tmp_path_factory.mktemp("live")) as secured:
        yield secured


@pytest.fixture
def page(secured: Secured) -> Iterator[LivePage]:
    """The page of a system that is even."""
    assert secured.system.live is not None
    with LivePage(secured.system.live.link) as page:
        page.until(is_even, LONG)
        yield page


def is_even(document: Document) -> bool:
    """Everything is known and comes out even."""
    return bool(document["checks"]["verdict"] == "even")


def health(document: Document, name: str) -> str:
    """The health of a service that has one process."""
    return next((str(process["health"]) for process in document["services"] if process["name"] == name), "")


def run(secured: Secured, *words: str) -> str:
    """A command of the client, as operator; its output."""
    command = [sys.executable, "-m", "ordersys.grpc_client", "--data-dir", str(secured.system.folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONG, env=clean()).stdout


def clean() -> dict[str, str]:
    """The environment without settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")}


def test_after_the_demo_the_page_says_what_the_api_says(secured: Secured, page: LivePage) -> None:
    """The newest orders, each recorded by both; and it is even."""
    run(secured, "demo")
    with secured.channel(secured.address("ORDER_SERVICE"), "order-service") as channel:
        operator = secured.bearer("olga", Role.ROLE_OPERATOR)
        answer = OrderServiceStub(channel).ListOrders(ListOrdersRequest(), metadata=operator, timeout=SECONDS)
    stored = [(order.id, order.customer_id, state(order), order.version) for order in answer.orders]

    def shown(document: Document) -> list[tuple[Any, ...]]:
        return [(o["id"], o["customer"], o["state"], o["version"]) for o in document["orders"]]

    page.until(lambda document: shown(document) == stored and is_even(document), LONG)
    assert all(all(order["heard"].values()) and len(order["heard"]) == 2 for order in page.document["orders"])
    records = page.document["checks"]["checks"][2]
    assert records["subject"] == "records"
    heard = [
        run(secured, "--output", "jsonl", "notifications", "--service", number, "--limit", "all").count("\n")
        for number in "12"
    ]
    assert f"none of the {sum(heard):,} that were read" in records["sentence"]


@pytest.mark.parametrize("name", ["order_service", "product_service", "notification_service_2"])
def test_a_service_that_is_killed_is_shown_at_once_and_so_is_its_return(
    secured: Secured, page: LivePage, name: str
) -> None:
    """Nothing else of the page suffers."""
    service = name.replace("_", "-")
    secured.system.services[name].kill()
    assert page.until(lambda document: health(document, service) == "does not answer", LONG) < SOON
    assert page.document["broker"]["state"] == "up"
    secured.system.watch(lambda line: None)
    secured.system.services[name].wait_healthy()
    assert page.until(lambda document: health(document, service) == "SERVING", LONG) < SOON
    secured.place("anna")
    page.until(is_even, LONG)


def test_a_broker_that_is_killed_is_shown_at_once_and_so_is_its_return(secured: Secured, page: LivePage) -> None:
    """Meanwhile orders are taken, and their events are said to be on the way."""
    (node,) = secured.system.nodes
    node.kill()
    assert page.until(lambda document: document["broker"]["state"] == "away", LONG) < SOON
    secured.place("anna")
    page.until(lambda document: document["checks"]["checks"][0]["verdict"] == "moving", LONG)
    secured.system.start_brokers()
    page.until(lambda document: document["broker"]["state"] == "up" and is_even(document), LONG)


def test_a_broker_that_falls_silent_is_shown_within_two_seconds_whenever_that_happens(
    secured: Secured, page: LivePage
) -> None:
    """It keeps its connections, and answers nothing: only that it was asked and did not answer in time tells of it."""
    (node,) = secured.system.nodes
    assert node.pid is not None
    for _ in range(3):
        page.until(lambda document: document["broker"]["state"] == "up", LONG)
        os.killpg(node.pid, signal.SIGSTOP)
        try:
            took = page.until(lambda document: document["broker"]["state"] == "away", LONG)
        finally:
            os.killpg(node.pid, signal.SIGCONT)
        assert took < SOON
    page.until(is_even, LONG)


def test_a_page_that_is_killed_comes_back_under_its_link(secured: Secured, page: LivePage) -> None:
    """With all of it: what a browser has seen was of another process."""
    live = secured.system.live
    assert live is not None and live.service.pid is not None
    psutil.Process(live.service.pid).kill()
    psutil.Process(live.service.pid).wait(SECONDS)
    secured.system.watch(lambda line: None)
    until_listens(secured)
    with LivePage(live.link) as again:
        again.until(lambda document: is_even(document) and document["orders"], LONG)
        assert again.last_id.partition("-")[0] != page.last_id.partition("-")[0]


def until_listens(secured: Secured) -> None:
    """Waits for the page."""
    live = secured.system.live
    assert live is not None
    eventually(lambda: live.service.listens, LONG)


def test_a_browser_that_comes_back_gets_what_has_changed(secured: Secured, page: LivePage) -> None:
    """Since the state that it has seen last."""
    assert secured.system.live is not None
    with LivePage(secured.system.live.link, page.last_id) as again:
        secured.place("anna")
        again.until(lambda document: "orders" in document, LONG)
        assert "graph" not in again.document


def test_a_dead_letter_is_shown_with_its_reason_and_its_text_is_text(secured: Secured, page: LivePage) -> None:
    """Also one whose id is markup."""
    poison(secured, f"{HOSTILE}{uuid.uuid4()}")

    def letters(document: Document) -> list[dict[str, Any]]:
        return [letter for subscriber in document["letters"] for letter in subscriber["letters"]]

    page.until(letters, LONG)
    letter = letters(page.document)[0]
    assert letter["event"].startswith(HOSTILE)
    assert letter["reason"] == "rejected"
    assert letter["obstacle"]
    assert letter["replay"].endswith(f"dead-letters replay {letter['id']}")


def poison(secured: Secured, event_id: str) -> None:
    """Publishes a message that nobody can read, in the name of the Order Service."""
    properties = BasicProperties(message_id=event_id, type="OrderCreated", user_id="order-service")
    with closing(connected(secured, "order-service")) as connection:
        connection.channel().basic_publish("orders.created", "", HOSTILE.encode(), properties)


def test_an_order_is_told_in_full(secured: Secured, page: LivePage) -> None:
    """With its events as each subscriber has recorded them."""
    secured.place("anna")
    page.until(lambda document: document["orders"][0]["customer"] == "anna" and is_even(document), LONG)
    newest = page.document["orders"][0]
    status, _, body = page.get(f"/live/orders/{newest['id']}?key={page.key}")
    assert status == 200
    assert '"product": "paper-a4"' in body
    assert body.count('"notification-service-') >= 2
    assert page.get(f"/live/orders/{newest['id']}?key=x")[0] == 403
    assert page.get(f"/live/orders/{uuid.uuid4()}?key={page.key}")[0] == 404
    assert page.get(f"/live/orders/%3Cimg%3E?key={page.key}")[0] == 404


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/", "GET", {}, 200),
        ("/", "HEAD", {}, 200),
        ("/main.js", "GET", {}, 200),
        ("/live/events", "GET", {}, 403),
        ("/live/events?key=", "GET", {}, 403),
        ("/live/events?key=wrong", "GET", {}, 403),
        ("/live/events?key={key}", "GET", {"Host": "evil.example"}, 421),
        ("/live/events?key={key}", "GET", {"Host": "127.0.0.1"}, 421),
        ("/live/events?key={key}", "POST", {}, 405),
        ("/", "PUT", {}, 405),
        ("/", "OPTIONS", {}, 405),
        ("/server.py", "GET", {}, 404),
        ("/..%2fserver.py", "GET", {}, 404),
        ("/../server.py", "GET", {}, 404),
    ],
)
def test_nobody_gets_more_than_the_page_without_its_key(
    page: LivePage, path: str, method: str, headers: dict[str, str], status: int
) -> None:
    """Nor by another name of the host, nor by another method."""
    answered, shown, body = page.get(path.format(key=page.key), method, **headers)
    assert answered == status
    assert "default-src 'self'" in shown["Content-Security-Policy"]
    assert page.key not in body


def test_the_key_is_on_no_disk_and_on_no_command_line(secured: Secured, page: LivePage) -> None:
    """Every user of the machine sees command lines."""
    live = secured.system.live
    assert live is not None and live.service.pid is not None
    assert page.key not in " ".join(psutil.Process(live.service.pid).cmdline())
    for file in secured.system.folder.rglob("*"):
        if file.is_file() and file.stat().st_size < 10_000_000:
            assert page.key.encode() not in file.read_bytes(), file


def test_the_page_listens_on_loopback_alone(secured: Secured) -> None:
    """And is the one thing of its process that listens."""
    live = secured.system.live
    assert live is not None and live.service.pid is not None
    connections = psutil.Process(live.service.pid).net_connections("tcp")
    assert {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
