"""An outbox and its relay, in the fewest lines that lose nothing.

The event is written into the outbox in the transaction that makes the change, and published afterwards: a change
without its event, or an event without its change, is impossible. A row is deleted only when the broker has confirmed
its event, so a crash publishes an event twice rather than never; its consumer needs an inbox (inbox.py).

    python examples/minimal/outbox.py amqp://guest:guest@127.0.0.1:5672/%2F
"""

import json
import sqlite3
import sys
import uuid

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import NackError, UnroutableError

EXCHANGE, QUEUE, DEAD_LETTERS = "minimal.orders", "minimal.orders.log", "minimal.orders.log.dead"
# The consumer (inbox.py) declares the queue with the same arguments: whichever is first creates it.
ARGUMENTS = {"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD_LETTERS}
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of publishing; never used again, so that none is skipped
    event_id TEXT NOT NULL,
    body TEXT NOT NULL
);
"""


def database(path: str) -> sqlite3.Connection:
    """Opens the database with durable commits: each is on disk before it returns."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA}")
    return db


def place(db: sqlite3.Connection, item: str) -> str:
    """Makes an order; its id. The event is in the outbox if and only if the order is in its table."""
    order_id = str(uuid.uuid4())
    with db:  # commits, or rolls back when something is raised
        db.execute("BEGIN IMMEDIATE")  # takes the write lock now: a read that becomes a write later may be refused
        db.execute("INSERT INTO orders VALUES (?, ?)", (order_id, item))
        event = json.dumps({"order": order_id, "item": item})
        db.execute("INSERT INTO outbox (event_id, body) VALUES (?, ?)", (f"{order_id}.1", event))
    return order_id


def declare(channel: BlockingChannel) -> None:
    """Declares a durable exchange and quorum queues: a confirmed event survives a restart of the broker."""
    channel.exchange_declare(EXCHANGE, "fanout", durable=True)
    channel.queue_declare(DEAD_LETTERS, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_declare(QUEUE, durable=True, arguments=ARGUMENTS)
    channel.queue_bind(QUEUE, EXCHANGE)


def relay(db: sqlite3.Connection, channel: BlockingChannel) -> int:
    """Publishes waiting events, oldest first; their number. `channel` needs publisher confirms (`confirm_delivery`)."""
    published = 0
    for sequence, event_id, body in db.execute("SELECT * FROM outbox ORDER BY sequence LIMIT 100").fetchall():
        properties = pika.BasicProperties(message_id=event_id, delivery_mode=pika.DeliveryMode.Persistent)
        try:
            # Returns when the broker has confirmed the event. Mandatory: raises if no queue is bound.
            channel.basic_publish(EXCHANGE, "", body.encode(), properties, mandatory=True)
        except (NackError, UnroutableError) as error:
            print(f"{event_id} waits: {type(error).__name__}")
            break  # the next call tries again; later events wait, so that the order stays
        db.execute("DELETE FROM outbox WHERE sequence = ?", (sequence,))  # by itself: autocommit
        published += 1
    return published


def main(url: str) -> None:
    """Places three orders and publishes their events."""
    db = database(":memory:")
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    declare(channel)
    for item in ("lamp", "desk", "chair"):
        print("placed", place(db, item), item)
    print("published", relay(db, channel), "events")
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F")
