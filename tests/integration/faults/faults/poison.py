"""Faults of messages: some that are no events, and one that kills whoever takes it. Only they are dead-lettered."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import grpc
import pika

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLettersRequest,
    ListDeadLettersRequest,
)
from ordersys.api.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.topology import subscriptions
from tests.contract.harness.injector import Injector
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.system_under_test import new_id
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.crashing_subscriber import DEADLY
from tests.integration.faults.environment.environment import RUN
from tests.integration.faults.faults.fault import Fault, FaultContext

_POISONS = 20
_DEAD_SECONDS = 15.0
_DEADLY_SECONDS = 300.0
_POLL = 0.1
_PAGE = 500
_CALL_SECONDS = 10.0


def poison_faults() -> Iterator[Fault]:
    """Among healthy events."""
    yield Fault("poison", _poison)
    yield Fault("deadly event", _deadly)


def _poison(context: FaultContext) -> Sequence[Finding]:
    """Messages that are no events: they, and nothing else, end in the dead-letter queues."""
    connection = pika.BlockingConnection(context.environment.amqp)
    channel = connection.channel()
    for number in range(_POISONS):
        properties = pika.BasicProperties(message_id=f"poison-{number}", type="nonsense", delivery_mode=2)
        channel.basic_publish("orders.created", "order.created", context.dice.randbytes(20), properties)
        time.sleep(context.dice.uniform(0.0, 0.05))
    connection.close()
    expected = [f"poison-{number}" for number in range(_POISONS)]
    complaints: list[str] = []
    for subscription in subscriptions():
        with closing(_letters(context, subscription.consumer)) as letters:
            complaints.append(letters.wrong(expected))
    return [Finding(Kind.LOST, text) for text in complaints if text]


def _deadly(context: FaultContext) -> Sequence[Finding]:
    """An event in a backlog kills its consumer each time it comes, with as many under way as there may be."""
    environment, role, name = context.environment, "notification-service-2", "notification_service_2"
    order = sample_order()
    order.customer_id = DEADLY
    event_id = new_id()
    names = environment.setup.of(name)
    for process in names:
        environment.kill(process)
    context.last(0.5, 4.0)
    with closing(Injector(environment.amqp, environment.setup.secure)) as injector:
        injector.deliver(role, OrderCreated(order=order), message_id=event_id)
    context.last(0.2, 2.0)
    for process in names:
        environment.give(process, **{RUN: "-m tests.integration.faults.environment.crashing_subscriber"})
    complaint = _dies_until_dead_lettered(context, names, event_id)
    for process in names:
        environment.give(process)
        environment.kill(process)
        environment.start(process)
    return [Finding(Kind.LOST, complaint)] if complaint else ()


def _dies_until_dead_lettered(context: FaultContext, names: Sequence[str], event_id: str) -> str:
    """Starts them again whenever they have died; what is wrong, nothing when this message alone is dead-lettered."""
    until = time.monotonic() + _DEADLY_SECONDS
    with closing(_letters(context, "notification-service-2")) as letters:
        while time.monotonic() < until and not letters.now():
            for name in names:
                context.environment.start(name)
            time.sleep(_POLL)
        return letters.wrong([event_id])


def _letters(context: FaultContext, role: str) -> "_Letters":
    return _Letters(role, context.environment.channel(role.replace("-", "_")))


class _Letters:
    """The dead letters of a subscriber."""

    def __init__(self, role: str, channel: grpc.Channel) -> None:
        self._role = role
        self._channel = channel
        self._service = DeadLetterServiceStub(self._channel)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def now(self) -> list[DeadLetter]:
        """Those that are listed, nothing while there is no answer."""
        try:
            request = ListDeadLettersRequest(page_size=_PAGE)
            return list(self._service.ListDeadLetters(request, timeout=_CALL_SECONDS).dead_letters)
        except grpc.RpcError:
            return []

    def wrong(self, expected: Sequence[str]) -> str:
        """Discards all there are; what is wrong about them, nothing when their events are what was expected."""
        until = time.monotonic() + _DEAD_SECONDS
        while len(letters := self.now()) < len(expected) and time.monotonic() < until:
            time.sleep(_POLL)
        request = DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=[letter.id for letter in letters])
        if letters:
            self._service.DiscardDeadLetters(request, timeout=_CALL_SECONDS)
        ids = sorted(letter.event_id for letter in letters)
        return "" if ids == sorted(expected) else f"{self._role} has the dead letters {ids}"
