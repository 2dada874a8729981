"""Group commit by natural batching, in the fewest lines that never lie about what is on disk.

A durable commit waits for the disk, whether it holds one row or a hundred. While one commit is under way arrivals
collect; they are the next one. There is no timer and no batch size: alone, a write goes at once; in a crowd its cost is
shared. Nobody is answered before the commit that holds its write is on disk.

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
        """Finishes what was handed in."""
        if self._worker is not None:
            await self._worker
        self._thread.shutdown()
        self._db.close()

    async def _work(self) -> None:
        """One batch after the other: what has come while the one before was on its way to the disk."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            rows = [row for row, _ in batch]
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, rows)
            for (_, written), error in zip(batch, results, strict=True):
                if written.cancelled():
                    continue  # whoever waited has gone; the row is there all the same
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)
        self._worker = None

    def _commit(self, rows: list[Row]) -> list[sqlite3.Error | None]:
        """In the writer's thread: all in one transaction; should that fail, each alone, so that one harms no other."""
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
    """A thousand writes, 64 at a time."""
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
