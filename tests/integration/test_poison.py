"""Events that a handler can't take: the consumer's process may die of them, the queue does not."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, DeadLetterReason
from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.local.system import System
from tests.contract.harness.injector import Injector
from tests.contract.harness.sample_orders import sample_order
from tests.integration.api import Api, eventually

FAILS_ON_ONE = """
import logging, os, sys
from ordersys.api.notification.v1.subscriptions_pb2 import DESCRIPTOR
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.notification_service import text
from ordersys.notification_service.application import run_notification_service
from ordersys.notification_service_2.__main__ import HANDLERS, Settings

def created(event):
    if event.order.customer_id == "poison":
        {how}
    return text.created(event)

service = DESCRIPTOR.services_by_name["NotificationService2"]
run_notification_service(service, {{**HANDLERS, OrderCreated: created}}, Settings, "")
"""


@contextmanager
def replaced(system: System, program: str, attempts: int) -> Iterator[None]:
    """Another program in the place of Notification Service 2, started again when it dies."""
    system.services["notification_service_2"].stop()
    stopped = threading.Event()
    environment = {**os.environ, **system.environment}
    running: list[subprocess.Popen[bytes]] = []

    def keep_running() -> None:
        for _ in range(attempts):
            if stopped.is_set():
                return
            running.append(
                subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL)
            )
            running[-1].wait()

    supervisor = threading.Thread(target=keep_running)
    supervisor.start()
    try:
        yield
    finally:
        stopped.set()
        running[-1].send_signal(signal.SIGTERM)
        supervisor.join(30)
        system.services["notification_service_2"].start()
        system.services["notification_service_2"].wait_healthy()


@pytest.mark.parametrize("how", ["raise RuntimeError", "os._exit(1)"], ids=["raises", "kills"])
def test_an_event_the_handler_fails_on_is_dead_lettered_and_harms_no_other(
    system: System, api: Api, injector: Injector, how: str
) -> None:
    """It comes back until its delivery limit, also when it kills the process each time; healthy events are recorded."""
    role, poison = "notification-service-2", sample_order()
    poison.customer_id = "poison"
    with replaced(system, FAILS_ON_ONE.format(how=how), attempts=20):
        healthy = [sample_order() for _ in range(20)]
        for order in healthy[:10]:
            injector.deliver(role, OrderCreated(order=order))
        event_id = injector.deliver(role, OrderCreated(order=poison))
        for order in healthy[10:]:
            injector.deliver(role, OrderCreated(order=order))
        letter = eventually(lambda: dead_letter(api, event_id))
        assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_DELIVERY_LIMIT
        for order in healthy:
            assert len(eventually(lambda order=order: heard(api, order.id))) == 1  # type: ignore[misc]


def dead_letter(api: Api, event_id: str) -> DeadLetter | None:
    """The dead letter of service 2 with that event, None while there is none, or no answer."""
    try:
        return next((letter for letter in api.dead_letters(2) if letter.event_id == event_id), None)
    except grpc.RpcError:
        return None


def heard(api: Api, order_id: str) -> list[Notification]:
    """The notifications service 2 has recorded, nothing while it does not answer."""
    try:
        return api.heard(2, order_id)
    except grpc.RpcError:
        return []
