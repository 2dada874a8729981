"""Idempotent calls by request_id (AIP-155), in the fewest lines that hold after a crash.

A client that got no answer repeats its request under the same id. What was answered the first time stands in the
table, written in the very transaction that had the effect: a repeat answers it, and has no second effect, whatever died
in between. The fingerprint tells a repeat from another request that was given a used id by mistake.

    python examples/minimal/idempotency.py
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

RETENTION_SECONDS = 48 * 3600  # longer than any client repeats a request
SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    request_id TEXT PRIMARY KEY, fingerprint BLOB NOT NULL, response TEXT NOT NULL, time INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS accounts (owner TEXT PRIMARY KEY, cents INTEGER NOT NULL);
"""
Request = Mapping[str, Any]


class RequestIdReused(Exception):
    """Another request was made under this id."""


def database(path: str) -> sqlite3.Connection:
    """Opens the database with durable commits: each is on disk before it returns."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA}")
    return db


def fingerprint(request: Request) -> bytes:
    """A digest that is the same for equal requests, whatever the order of their fields."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).digest()


def once(
    db: sqlite3.Connection,
    request_id: str,
    request: Request,
    effect: Callable[[sqlite3.Connection, Request], dict[str, Any]],
) -> dict[str, Any]:
    """The answer of `effect`, from now or from the first time. Raises RequestIdReused, and whatever `effect` raises.

    A request that fails leaves its id unused: it may succeed when it is repeated.
    """
    db.execute(
        "BEGIN IMMEDIATE"
    )  # the lock is taken before the look: of two repeats at once the second finds the first
    try:
        known = db.execute("SELECT fingerprint, response FROM requests WHERE request_id = ?", (request_id,)).fetchone()
        if known and known[0] != fingerprint(request):
            raise RequestIdReused(request_id)
        if known:
            return dict(json.loads(known[1]))
        response = effect(db, request)
        row = request_id, fingerprint(request), json.dumps(response), int(time.time())
        db.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", row)
        db.execute("COMMIT")
        return response
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def purge(db: sqlite3.Connection) -> None:
    """Deletes requests that are too old to be repeated."""
    db.execute("DELETE FROM requests WHERE time < ?", (int(time.time()) - RETENTION_SECONDS,))


def deposit(db: sqlite3.Connection, request: Request) -> dict[str, Any]:
    """An effect that must not happen twice."""
    db.execute(
        "INSERT INTO accounts VALUES (:owner, :cents) ON CONFLICT (owner) DO UPDATE SET cents = cents + :cents", request
    )
    (cents,) = db.execute("SELECT cents FROM accounts WHERE owner = :owner", request).fetchone()
    return {"cents": cents}


def main() -> None:
    """Makes the same deposit three times."""
    db = database(":memory:")
    for _ in range(3):
        print(once(db, "7f3c", {"owner": "anna", "cents": 500}, deposit))


if __name__ == "__main__":
    main()
