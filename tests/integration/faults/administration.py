"""Faults somebody with the keys to the broker can cause: alarms, credentials revoked, a queue that is full."""

from collections.abc import Iterator, Sequence

from ordersys.contract.topology import Subscription, subscriptions
from tests.integration.faults.facts import Finding
from tests.integration.faults.fault import Act, Fault, Scene

_USER = "guest"


def administration_faults() -> Iterator[Fault]:
    """Each for a while, and undone."""
    yield Fault("memory alarm", _alarms("set_vm_memory_high_watermark", ("absolute", "1MB"), ("absolute", "1GB")))
    yield Fault("disk alarm", DISK_ALARM)
    yield Fault("credentials revoked", _revokes)
    for taken in subscriptions():
        yield Fault(f"queue of {taken.consumer} full", _fills(taken))


def _alarms(command: str, raised: Sequence[str], lifted: Sequence[str]) -> Act:
    """The broker takes no events for a while, for minutes when there is time."""

    def act(scene: Scene) -> Sequence[Finding]:
        scene.stage.node.control(command, *raised)
        try:
            scene.last(3.0, 120.0)
        finally:
            scene.stage.node.control(command, *lifted)
        return ()

    return act


def _revokes(scene: Scene) -> Sequence[Finding]:
    """Everybody is thrown out, and let in again later."""
    node = scene.stage.node
    node.control("change_password", _USER, "another")
    try:
        node.control("close_all_connections", "revoked")
        scene.last(1.0, 20.0)
    finally:
        node.control("change_password", _USER, _USER)
    return ()


def _fills(taken: Subscription) -> Act:
    """Its consumer sleeps, and the queue takes one message only: the broker refuses what others have got."""
    name = taken.consumer.replace("-", "_")

    def act(scene: Scene) -> Sequence[Finding]:
        node = scene.stage.node
        pattern = f"^{taken.queue.replace('.', '[.]')}$"
        node.control("set_policy", "--apply-to", "queues", "full", pattern, '{"max-length":1}')
        try:
            with scene.stage.asleep(name):
                scene.last(2.0, 20.0)
        finally:
            node.control("clear_policy", "full")
        return ()

    return act


DISK_ALARM = _alarms("set_disk_free_limit", ("mem_relative", "1000000.0"), ("50MB",))
