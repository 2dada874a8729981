"""An outbox and its relay, in the fewest lines that lose nothing.

The event is written in the transaction that it tells of, and published afterwards: there is no moment at which one of
the two is there without the other. A row goes only when the broker has confirmed its event, so that a crash publishes
an event twice rather than never; whoever receives it needs an inbox (inbox.py).

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
# As its consumer declares it (inbox.py): who comes first makes the queue, the other finds it.
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
    """Durable: a commit is on disk before it returns."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA}")
    return db


def place(db: sqlite3.Connection, item: str) -> str:
    """Makes an order. The event stands in the outbox if and only if the order stands in its table."""
    order_id = str(uuid.uuid4())
    with db:  # commits, or rolls back when something is raised
        db.execute("BEGIN IMMEDIATE")  # takes the write lock now: a read that becomes a write later may be refused
        db.execute("INSERT INTO orders VALUES (?, ?)", (order_id, item))
        event = json.dumps({"order": order_id, "item": item})
        db.execute("INSERT INTO outbox (event_id, body) VALUES (?, ?)", (f"{order_id}.1", event))
    return order_id


def declare(channel: BlockingChannel) -> None:
    """A durable exchange and a quorum queue: what is confirmed survives the broker's restart."""
    channel.exchange_declare(EXCHANGE, "fanout", durable=True)
    channel.queue_declare(DEAD_LETTERS, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_declare(QUEUE, durable=True, arguments=ARGUMENTS)
    channel.queue_bind(QUEUE, EXCHANGE)


def relay(db: sqlite3.Connection, channel: BlockingChannel) -> int:
    """Publishes what waits, oldest first; how many events are gone. `channel` confirms (`confirm_delivery`)."""
    published = 0
    for sequence, event_id, body in db.execute("SELECT * FROM outbox ORDER BY sequence LIMIT 100").fetchall():
        properties = pika.BasicProperties(message_id=event_id, delivery_mode=pika.DeliveryMode.Persistent)
        try:
            # Returns when the broker has it; mandatory: raises where no queue would have got it.
            channel.basic_publish(EXCHANGE, "", body.encode(), properties, mandatory=True)
        except (NackError, UnroutableError) as error:
            print(f"{event_id} waits: {type(error).__name__}")
            break  # tried again with the next call; what comes after it stays behind it
        db.execute("DELETE FROM outbox WHERE sequence = ?", (sequence,))  # a commit of its own
        published += 1
    return published


def main(url: str) -> None:
    """Three orders, three events."""
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
