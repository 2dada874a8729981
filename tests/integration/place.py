"""A virtual host with a user who may do little in it, and services by themselves that have to do with it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pika
from google.type.money_pb2 import Money
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogStub
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.contract.topology import topology
from ordersys.local import ports
from ordersys.local.rabbitmq import Node
from ordersys.local.system import SERVICES
from tests.integration.api import RECONNECTING, eventually

SECONDS = 60.0
_STOP_SECONDS = 10.0  # the grace period, which nothing that is held up by the broker needs
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
ALL, NONE = ".*", "^$"
_REFUSALS = "access_refused", "not_found", "precondition_failed"
# Each call of rabbitmqctl starts an Erlang of its own: what belongs together is done by one.
_MADE = """
    rabbit_vhost:add(<<"{name}">>, <<"tests">>),
    rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"secret">>, <<"tests">>),
    rabbit_auth_backend_internal:set_permissions(
        <<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>).
"""
_GRANTED = """
    rabbit_auth_backend_internal:set_permissions(
        <<"{name}">>, <<"{name}">>, <<"{configure}">>, <<"{write}">>, <<"{read}">>, <<"tests">>),
    rabbit_networking:close_all_user_connections(<<"{name}">>, "permissions changed").
"""


class Place(NamedTuple):
    """A virtual host of a test's own, and a user who may do in it what the test grants."""

    node: Node
    name: str

    @property
    def url(self) -> str:
        """For the user."""
        return f"amqp://{self.name}:secret@{ports.LOOPBACK}:{self.node.port}/{self.name}"

    @property
    def url_of_guest(self) -> str:
        """For somebody who may do everything."""
        return f"amqp://guest:guest@{ports.LOOPBACK}:{self.node.port}/{self.name}"

    @property
    def refusals(self) -> int:
        """The number of times the broker has refused something there, as its own log says."""
        logs = self.node.log.parent.glob("*.log")
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return sum(any(word in line.lower() for word in _REFUSALS) for line in lines)

    def permit(self, configure: str, write: str, read: str) -> None:
        """Set the permissions of the user from now on; what an open AMQP channel was allowed before it may still do."""
        self.node.control("set_permissions", "-p", self.name, self.name, configure, write, read)

    def grant(self, configure: str, write: str, read: str) -> None:
        """Set the permissions of the user from now on; connections that are open learn it, too."""
        self.node.control("eval", _GRANTED.format(name=self.name, configure=configure, write=write, read=read))

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """Of somebody who may do everything."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.url_of_guest))) as connection:
            yield connection.channel()

    def declare(self) -> None:
        """Declares everything, as somebody who may."""
        with self.channel() as channel:
            for exchange in topology().exchanges:
                channel.exchange_declare(exchange.name, exchange.type, durable=True)
            for queue in topology().queues:
                channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
            for binding in topology().bindings:
                if binding.to_exchange:
                    channel.exchange_bind(binding.destination, binding.source, binding.routing_key)
                else:
                    channel.queue_bind(binding.destination, binding.source, binding.routing_key)

    @property
    def queues(self) -> list[str]:
        """The names of the queues that are there."""
        return self.node.control("list_queues", "-q", "-p", self.name, "--no-table-headers", "name").split()

    def delete(self, queue: str) -> None:
        """Takes a queue away, with what is in it."""
        with self.channel() as channel:
            channel.queue_delete(queue)

    def make_otherwise(self, queue: str) -> None:
        """Has a queue of that name that is not as the contract states it, from one moment to the next."""

        def made() -> bool:
            try:
                with self.channel() as channel:
                    channel.queue_delete(queue)
                    channel.queue_declare(queue, durable=True)
            except ChannelClosedByBroker:  # a service was quicker
                return False
            return True

        soon(made)

    def taken(self, queue: str) -> list[str]:
        """Takes all that is in a queue: the event ids, in order."""
        ids: list[str] = []
        with self.channel() as channel:
            while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                assert got[1] is not None
                ids.append(str(got[1].message_id))
        return ids

    def count(self, queue: str) -> int:
        """The number of messages that wait in a queue."""
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.message_count)


def new_place(node: Node) -> Place:
    """A new virtual host, with a user who may do nothing yet. It goes with the broker."""
    made = Place(node, f"v{uuid.uuid4().hex[:8]}")
    node.control("eval", _MADE.format(name=made.name))
    return made


class Running(NamedTuple):
    """A service by itself."""

    process: "subprocess.Popen[bytes]"
    channel: grpc.Channel
    log: Path
    folder: Path

    @property
    def orders(self) -> OrderServiceStub:
        """Calls to it, where it is the Order Service."""
        return OrderServiceStub(self.channel)

    def health(self) -> int:
        """The health it reports of itself."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=30, wait_for_ready=True).status)  # type: ignore[attr-defined]

    def said(self, level: str) -> list[str]:
        """The lines of its log of that level."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line["message"] for line in lines if line["level"] == level]

    def stop(self) -> int:
        """Ends it in good order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)

    def create(self) -> Order:
        """A new order."""
        item = OrderItem(product_id="desk", quantity=1, unit_price=Money(currency_code="EUR", units=1))
        ids = {"request_id": str(uuid.uuid4()), "order_id": str(uuid.uuid4())}
        request = CreateOrderRequest(**ids, customer_id="anna", items=[item])
        return self.orders.CreateOrder(request, timeout=30, wait_for_ready=True).order

    def pay(self, order: Order) -> None:
        """Changes an order: it is paid."""
        paid = UpdateOrderRequest(request_id=str(uuid.uuid4()), order_id=order.id, state=OrderState.ORDER_STATE_PAID)
        self.orders.UpdateOrder(paid, timeout=30)

    def heard(self, order_id: str) -> bool:
        """True when it has recorded anything of an order, where it is a notification service."""
        request = ListNotificationsRequest(order_id=order_id)
        return bool(NotificationLogStub(self.channel).ListNotifications(request, timeout=30).notifications)

    def waiting(self, table: str = "outbox") -> int:
        """The number of events that wait in the outbox."""
        with closing(sqlite3.connect(self.folder / "order.db")) as database:
            return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


@contextmanager
def running(module: str, folder: Path, url: str) -> Iterator[Running]:
    """A service by itself, with a RabbitMQ."""
    folder.mkdir(exist_ok=True)
    numbers = ports.free(len(SERVICES))
    addresses = {m: f"127.0.0.1:{port}" for m, port in zip(SERVICES, numbers, strict=True)}
    environment = {f"ORDERSYS_{m.upper()}_ADDRESS": address for m, address in addresses.items()}
    environment |= {"ORDERSYS_AMQP_URL": url, "ORDERSYS_DATA_DIR": str(folder)}
    log = folder / "log"
    command = [sys.executable, "-m", f"ordersys.{module}"]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env={**os.environ, **environment}, stdout=out) as process,
        grpc.insecure_channel(addresses[module], RECONNECTING) as channel,
    ):
        try:
            yield Running(process, channel, log, folder)
        finally:
            process.send_signal(signal.SIGTERM)


def soon(condition: Callable[[], Any]) -> Any:
    """The value of `condition` as soon as it holds."""
    return eventually(condition, SECONDS)
