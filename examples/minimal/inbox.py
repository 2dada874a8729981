"""A consumer with an inbox, in the fewest lines that lose nothing and do nothing twice.

What is published at least once arrives twice now and then: after a crash of the publisher, of the broker, of this very
program. The id of each event is recorded in the transaction that has the effect; a second delivery finds it there.
Acknowledged is after the commit: whoever dies in between gets the delivery again.

    python examples/minimal/inbox.py amqp://guest:guest@127.0.0.1:5672/%2F

Takes the events of outbox.py until Ctrl-C.
"""

import json
import sqlite3
import sys
from contextlib import suppress
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

EXCHANGE, QUEUE, DEAD_LETTERS = "minimal.orders", "minimal.orders.log", "minimal.orders.log.dead"
# What is rejected goes through the default exchange to the queue of that name; without it RabbitMQ drops it.
ARGUMENTS = {"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD_LETTERS}
PREFETCH = 100  # deliveries unacknowledged at a time; each of them comes again when this process dies
SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox (event_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS sold (item TEXT PRIMARY KEY, units INTEGER NOT NULL);  -- the effect
"""


class Poison(Exception):
    """A message that is no event, however often it is delivered."""


def database(path: str) -> sqlite3.Connection:
    """Opens the database with durable commits: each is on disk before it returns."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA}")
    return db


def declare(channel: BlockingChannel) -> None:
    """Declares the queue as the publisher does: declaring is idempotent, and either may be first."""
    channel.exchange_declare(EXCHANGE, "fanout", durable=True)
    channel.queue_declare(DEAD_LETTERS, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_declare(QUEUE, durable=True, arguments=ARGUMENTS)
    channel.queue_bind(QUEUE, EXCHANGE)


def record(db: sqlite3.Connection, event_id: str | None, body: bytes) -> bool:
    """Applies an event once; True if it was new. Raises Poison."""
    try:
        item = json.loads(body)["item"]
    except (ValueError, KeyError, TypeError) as error:
        raise Poison(str(error)) from error
    if not event_id:
        raise Poison("an event without an id can't be recognised when it comes again")
    with db:  # commits, or rolls back when something is raised
        db.execute("BEGIN IMMEDIATE")
        new = db.execute("INSERT OR IGNORE INTO inbox VALUES (?)", (event_id,)).rowcount == 1
        if new:
            db.execute(
                "INSERT INTO sold VALUES (?, 1) ON CONFLICT (item) DO UPDATE SET units = units + 1", (str(item),)
            )
    return new


def consume(db: sqlite3.Connection, channel: BlockingChannel, queue: str = QUEUE) -> None:
    """Handles deliveries until the channel is closed. Raises if an event can't be recorded for now (a locked database).

    The connection then ends, and all that was not acknowledged comes again.
    """

    def take(_: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        try:
            new = record(db, properties.message_id, body)
        except Poison as error:
            print(f"dead letter: {error}")
            # Not requeued: it goes to the dead letters, where somebody can look at it, and is not tried for ever.
            channel.basic_reject(method.delivery_tag, requeue=False)
        else:
            print(properties.message_id, "recorded" if new else "known")
            channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=PREFETCH)
    channel.basic_consume(queue, take)
    channel.start_consuming()


def main(url: str) -> None:
    """Counts what is sold until it is interrupted."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    declare(channel)
    with suppress(KeyboardInterrupt):
        consume(database("inbox.db"), channel)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F")
