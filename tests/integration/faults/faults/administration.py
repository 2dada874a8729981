"""Faults somebody with the keys to the broker can cause: alarms, credentials revoked, a queue that is full."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from ordersys.contract.permissions import DECLARER, contract_permissions
from ordersys.contract.topology import Subscription, subscriptions
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

_USER = "guest"
_SERVICES = [permissions for permissions in contract_permissions() if permissions.user != DECLARER]
_FED_SECONDS = 30.0
_POLL = 0.1


def administration_faults() -> Iterator[Fault]:
    """Each for a while, and undone."""
    yield Fault("memory alarm", _alarms("set_vm_memory_high_watermark", ("absolute", "1MB"), ("absolute", "1GB")))
    yield Fault("disk alarm", DISK_ALARM)
    yield Fault("credentials revoked", _revokes)
    for subscription in subscriptions():
        yield Fault(f"queue of {subscription.consumer} full", _fills(subscription))


def _alarms(command: str, raised: Sequence[str], lifted: Sequence[str]) -> Act:
    """The broker takes no events for a while, for minutes when there is time."""

    def act(context: FaultContext) -> Sequence[Finding]:
        context.environment.node.control(command, *raised)
        try:
            context.last(3.0, 120.0)
        finally:
            context.environment.node.control(command, *lifted)
        return ()

    return act


def _revokes(context: FaultContext) -> Sequence[Finding]:
    """Everybody is thrown out, and let in again later."""
    node = context.environment.node
    revoked: list[tuple[str, ...]] = [("change_password", _USER, "another")]
    granted: list[tuple[str, ...]] = [("change_password", _USER, _USER)]
    if context.environment.setup.secure:
        revoked = [("clear_permissions", user.user) for user in _SERVICES]
        granted = [("set_permissions", user.user, user.configure, user.write, user.read) for user in _SERVICES]
    try:
        for command in revoked:
            node.control(*command)
        node.control("close_all_connections", "revoked")
        context.last(1.0, 20.0)
    finally:
        for command in granted:
            node.control(*command)
    return ()


def _fills(subscription: Subscription) -> Act:
    """Its consumer sleeps, and the queue takes one message only: the broker refuses what others get all the same."""
    others = [other for other in subscriptions() if other != subscription]

    def act(context: FaultContext) -> Sequence[Finding]:
        node = context.environment.node
        pattern = f"^{subscription.queue.replace('.', '[.]')}$"
        node.control("set_policy", "--apply-to", "queues", "full", pattern, '{"max-length":1}')
        try:
            with ExitStack() as asleep:
                for name in context.environment.setup.of(_module(subscription)):
                    asleep.enter_context(context.environment.asleep(name))
                context.last(2.0, 20.0)
                findings = [finding for other in others for finding in _starves(context.environment, other)]
        finally:
            node.control("clear_policy", "full")
        return findings

    return act


def _starves(environment: Environment, subscription: Subscription) -> Iterator[Finding]:
    """An event that waits to be published does not reach a subscriber whose queue has room, though it has time enough.

    The first event of each order, that is: the others keep their place behind it.
    """
    types = [event_type for event_type in subscription.handlers if not event_type.endswith("OrderUpdated")]
    waiting = {
        event_id
        for service in ("order_service", "product_service")
        for table in ("outbox", "outbox_late")
        for event_id, event_type in environment.state.rows(service, f"SELECT event_id, type FROM {table}")  # noqa: S608
        if event_type in types
    }
    until = time.monotonic() + _FED_SECONDS
    missing = waiting
    while missing and time.monotonic() < until:
        rows = environment.state.rows(_module(subscription), "SELECT event_id FROM notifications")
        missing = waiting - {row[0] for row in rows}
        time.sleep(_POLL)
    if missing:
        text = (
            f"{subscription.consumer} has not got {len(missing)} of {len(waiting)} events while another's queue is full"
        )
        yield Finding(Kind.UNRECOVERED, text)


def _module(subscription: Subscription) -> str:
    return subscription.consumer.replace("-", "_")


DISK_ALARM = _alarms("set_disk_free_limit", ("mem_relative", "1000000.0"), ("50MB",))
