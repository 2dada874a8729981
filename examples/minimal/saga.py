"""A saga over two databases, in the fewest lines that neither lose stock nor sell it twice.

No transaction covers both the shop's stock and the warehouse's orders. So each step commits by itself, is idempotent,
and can be compensated. A saga that a crash leaves pending is found in the table and repeated under the same id, until
the warehouse has accepted it (complete) or refused it for good (compensate). No answer is neither: the stock stays
reserved.

    python examples/minimal/saga.py
"""

import sqlite3
import uuid
from collections.abc import Callable

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, available INTEGER NOT NULL CHECK (available >= 0));
CREATE TABLE IF NOT EXISTS sagas (
    order_id TEXT PRIMARY KEY, item TEXT NOT NULL, units INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'completed', 'compensated'))
);
"""


class Refused(Exception):
    """The warehouse has refused for good: the order does not exist and never will."""


class InDoubt(Exception):
    """No answer: the order may exist, or not."""


class OutOfStock(Exception):
    """There are fewer units than were ordered."""


CreateOrder = Callable[[str, str, int], None]
"""Creates the order with this id, item and units at the warehouse; a repeat of the id is the same order.

Raises Refused, or InDoubt for everything that is not surely a refusal: a timeout, a lost connection, an unknown error.
"""


def database(path: str) -> sqlite3.Connection:
    """Opens the database with durable commits: each is on disk before it returns."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA}")
    return db


def place(db: sqlite3.Connection, create_order: CreateOrder, item: str, units: int) -> str:
    """Places an order; its id. Raises OutOfStock, Refused, and InDoubt: recovery then ends the saga."""
    order_id = _begin(db, item, units)
    _settle(db, create_order, order_id, item, units)
    return order_id


def recover(db: sqlite3.Connection, create_order: CreateOrder) -> int:
    """Repeats pending sagas, the oldest first; the number left in doubt. For each start, and every few seconds."""
    pending = db.execute("SELECT order_id, item, units FROM sagas WHERE state = 'pending' ORDER BY rowid").fetchall()
    doubtful = 0
    for order_id, item, units in pending:
        try:
            _settle(db, create_order, order_id, item, units)
        except Refused:
            pass  # compensated
        except InDoubt:
            doubtful += 1
    return doubtful


def _begin(db: sqlite3.Connection, item: str, units: int) -> str:
    """Reserves the stock and stores the saga, in one commit: no stock is reserved without a saga."""
    order_id = str(uuid.uuid4())
    with db:
        db.execute("BEGIN IMMEDIATE")
        reserved = db.execute(
            "UPDATE stock SET available = available - ?1 WHERE item = ?2 AND available >= ?1", (units, item)
        )
        if reserved.rowcount != 1:
            raise OutOfStock(item)
        db.execute("INSERT INTO sagas VALUES (?, ?, ?, 'pending')", (order_id, item, units))
    return order_id


def _settle(db: sqlite3.Connection, create_order: CreateOrder, order_id: str, item: str, units: int) -> None:
    try:
        create_order(order_id, item, units)
    except Refused:
        with db:
            db.execute("BEGIN IMMEDIATE")
            # Only a saga that is still pending: compensated twice, it would return the stock twice.
            if _end(db, order_id, "compensated"):
                db.execute("UPDATE stock SET available = available + ? WHERE item = ?", (units, item))
        raise
    _end(db, order_id, "completed")


def _end(db: sqlite3.Connection, order_id: str, state: str) -> bool:
    ended = db.execute("UPDATE sagas SET state = ? WHERE order_id = ? AND state = 'pending'", (state, order_id))
    return ended.rowcount == 1


def main() -> None:
    """Places three orders: with a warehouse that answers, one that loses its answer, and one that refuses."""
    shop, warehouse = database(":memory:"), dict[str, str]()
    shop.execute("INSERT INTO stock VALUES ('lamp', 5)")

    def create(order_id: str, item: str, units: int) -> None:
        warehouse[order_id] = f"{units} × {item}"

    def lose_the_answer(order_id: str, item: str, units: int) -> None:
        create(order_id, item, units)
        raise InDoubt

    def say_no(order_id: str, item: str, units: int) -> None:
        raise Refused

    for warehouse_does in (create, lose_the_answer, say_no):
        try:
            print("placed", place(shop, warehouse_does, "lamp", 1))
        except (InDoubt, Refused) as error:
            print(type(error).__name__)
    print("left in doubt after recovery:", recover(shop, create))
    print("available:", *shop.execute("SELECT available FROM stock").fetchone(), "orders:", len(warehouse))


if __name__ == "__main__":
    main()
