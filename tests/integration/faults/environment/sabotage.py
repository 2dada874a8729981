"""Sabotages: one thing wrong on purpose, to show that a round with the right fault finds out.

Of some things it is said that nothing rests on them: that is shown by rounds which must not find out.

`python -m …environment.sabotage NAME` runs a sabotaged service; other sabotages are of the database.
"""

import asyncio
import math
import os
import random
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ordersys.contract.events import Event
from ordersys.notification_service import inbox
from ordersys.notification_service.recorder import Recorder
from ordersys.product_service.saga_engine import SagaEngine
from ordersys.product_service.store import inventory
from ordersys.product_service.store.transaction import Transaction
from ordersys.runtime.base.leadership import Leadership
from ordersys.runtime.outbox import Outbox, Waiting
from ordersys.runtime.rabbitmq.consumer import Consumer, Disposition
from ordersys.runtime.rpc import admission
from tests.integration.faults.environment.postgresql import ReplicatedDatabase
from tests.integration.faults.environment.setup import POSTGRESQL, Setup

_LATER_SECONDS = 2.0


class Sabotage(NamedTuple):
    """The role that is sabotaged, and the way it is."""

    service: str
    work: Callable[[], None]
    replicas: int = 1
    """The least number of processes that it needs to do harm; more than one work on PostgreSQL only."""

    def unfit(self, setup: Setup) -> bool:
        """True where it does no harm."""
        return setup.replicas < self.replicas


class DatabaseSabotage(NamedTuple):
    """The way PostgreSQL's servers are sabotaged."""

    during: Callable[[ReplicatedDatabase], AbstractContextManager[None]]

    def unfit(self, setup: Setup) -> bool:
        """True where there are none."""
        return setup.database != POSTGRESQL


def ack_before_commit() -> None:
    """Acknowledges what it is going to record later."""
    record = Recorder.record
    waiting: set[asyncio.Task[None]] = set()

    async def later(recorder: Recorder, events: list[Event]) -> None:
        await asyncio.sleep(_LATER_SECONDS)
        await record(recorder, events)

    async def acknowledge(recorder: Recorder, events: list[Event]) -> Sequence[Disposition]:
        waiting.add(asyncio.create_task(later(recorder, events)))
        return [Disposition.ACK] * len(events)

    _replace(Recorder, "record", acknowledge)


def no_inbox() -> None:
    """Records what comes again, again."""
    record = inbox._InboxBatch.record

    def again(entry: Any, rendered: inbox.Rendered) -> inbox.Recording:
        recording = record(entry, rendered)
        if recording is not inbox.Recording.REPEATED:
            return recording
        other = rendered.event._replace(event_id=f"{rendered.event.event_id}-again")
        return record(entry, rendered._replace(event=other))

    _replace(inbox._InboxBatch, "record", again)


def cursor_instead_of_rows() -> None:
    """Publishes what comes after what it has read last."""
    oldest = Outbox.oldest
    read: list[int] = [0]

    def after_the_last(outbox: Outbox, connection: Connection, most: int, _: int) -> list[Waiting]:
        rows = [row for row in oldest(outbox, connection, 10_000) if row.sequence > read[0]][:most]
        read[0] = max([read[0], *(row.sequence for row in rows)])
        return rows

    _replace(Outbox, "oldest", after_the_last)


def release_twice() -> None:
    """Gives back what an order needs no more, and once more."""
    write = Transaction.write

    def twice(transaction: Transaction) -> None:
        transaction._released *= 2
        write(transaction)

    _replace(Transaction, "write", twice)


def no_sweep() -> None:
    """Leaves to clients what they have left open."""

    async def nothing(_: object) -> None:
        return None

    _replace(SagaEngine, "recover", nothing)


def no_limit() -> None:
    """Admits every call, and lets as many wait as come."""
    os.environ["ORDERSYS_MAX_CONCURRENT_CALLS"] = "100000"


def endless_patience() -> None:
    """Waits for a request as long as it takes."""
    admission.REQUEST_SECONDS = math.inf


def ignores_lease() -> None:
    """Every process consumes, as if it had the database for itself."""

    async def at_once(consumer: Consumer, session: Any) -> None:
        return None

    _replace(Consumer, "_wait_to_lead", at_once)
    _replace(Leadership, "held", property(lambda leadership: True))


def relays_without_lease() -> None:
    """Every process publishes what stands in the outbox."""
    _replace(Leadership, "held", property(lambda leadership: True))


def random_key_order() -> None:
    """Locks products in any order."""
    setattr(inventory, "sorted", lambda keys: random.sample(list(keys), len(keys)))  # noqa: B010 - hides the builtin


def _replace(owner: type, name: str, by: object) -> None:
    setattr(owner, name, by)


SERVICE_SABOTAGES: Mapping[str, Sabotage] = {
    "ack-before-commit": Sabotage("notification_service_1", ack_before_commit),
    "no-inbox": Sabotage("notification_service_2", no_inbox),
    "cursor-instead-of-rows": Sabotage("order_service", cursor_instead_of_rows),
    "no-sweep": Sabotage("product_service", no_sweep),
    "no-limit": Sabotage("product_service", no_limit),
    "endless-patience": Sabotage("product_service", endless_patience),
    "ignores-lease": Sabotage("notification_service_1", ignores_lease, replicas=2),
    "relays-without-lease": Sabotage("order_service", relays_without_lease, replicas=2),
    "random-key-order": Sabotage("product_service", random_key_order, replicas=2),
    "release-twice": Sabotage("product_service", release_twice),
}
SABOTAGES: Mapping[str, Sabotage | DatabaseSabotage] = {
    **SERVICE_SABOTAGES,
    "asynchronous-standby": DatabaseSabotage(ReplicatedDatabase.asynchronous),
}
"""In the order in which they may be tried on one system: the last ones leave it spoiled."""

if __name__ == "__main__":
    chosen = SERVICE_SABOTAGES[sys.argv.pop()]
    chosen.work()
    runpy.run_module(f"ordersys.{chosen.service}", run_name="__main__", alter_sys=True)
