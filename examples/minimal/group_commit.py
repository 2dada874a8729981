"""Group commit by natural batching, in the fewest lines that never lie about what is on disk.

A durable commit waits for the disk, with one row as with a hundred. Writes that arrive during a commit are collected,
and are the next commit. There is no timer and no batch size: a single write is committed at once, many share the
cost. A caller gets its answer only when the commit with its write is on disk.

    python examples/minimal/group_commit.py
"""

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SCHEMA = "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL CHECK (text <> ''))"
Row = tuple[Any, ...]


class GroupCommit:
    """Writes rows by one SQL statement; each `write` returns when its row is on disk. Lives in one event loop."""

    def __init__(self, path: str, statement: str) -> None:
        self._statement = statement
        # One thread: SQLite has one writer, and a connection belongs to one thread at a time.
        self._thread = ThreadPoolExecutor(1)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA}")
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._worker: asyncio.Task[None] | None = None
        self.commits = 0

    async def write(self, row: Row) -> None:
        """Returns when the row is on disk. Raises sqlite3.Error for this row alone."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, written))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        await written

    async def close(self) -> None:
        """Returns when all writes are done, and closes the database."""
        if self._worker is not None:
            await self._worker
        self._thread.shutdown()
        self._db.close()

    async def _work(self) -> None:
        """Commits one batch after the other: the writes that arrived while the batch before was committed."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            rows = [row for row, _ in batch]
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, rows)
            for (_, written), error in zip(batch, results, strict=True):
                if written.cancelled():
                    continue  # the caller has gone; its row is written nevertheless
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)
        self._worker = None

    def _commit(self, rows: list[Row]) -> list[sqlite3.Error | None]:
        """Runs in the writer's thread: all rows in one transaction; if that fails, each row alone."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(self._statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return [error] if len(rows) == 1 else [result for row in rows for result in self._commit([row])]
        self.commits += 1
        return [None] * len(rows)


async def main() -> None:
    """Makes a thousand writes, 64 at a time."""
    entries = GroupCommit("group_commit.db", "INSERT INTO entries (text) VALUES (?)")
    began = time.perf_counter()

    async def write_some(count: int) -> None:
        for number in range(count):
            await entries.write((f"entry {number}",))

    await asyncio.gather(*(write_some(16) for _ in range(64)))
    seconds = time.perf_counter() - began
    print(f"1,024 durable writes in {entries.commits} commits, {seconds:.2f} s")
    await entries.close()


if __name__ == "__main__":
    asyncio.run(main())
