"""The face both databases have: services know this one, and `opening` alone knows which is behind it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from ordersys.runtime.base.leadership import Leadership

R = TypeVar("R")
T = TypeVar("T")
Operation = Callable[[Connection, list[Any]], Sequence[Any]]
"""Works on a list of items in one transaction: one result for each, an exception to refuse that item alone."""


class Storage(Protocol):
    """An open database. What `write` answers is on disk."""

    @property
    def leadership(self) -> Leadership:
        """The leadership of one among the processes that share the database."""
        ...

    def write(
        self, operation: Callable[[Connection, list[Any]], Sequence[R | Exception]], item: Any, urgent: bool = True
    ) -> "asyncio.Future[R]":
        """Hands `item` to `operation`; the future has its result once the commit is on disk.

        Raises StorageUnavailable where nothing was written, CommitUnknown where that is not known.
        """
        ...

    def write_each(
        self, operation: Callable[[Connection, list[T]], Sequence[R]], items: list[T], urgent: bool = True
    ) -> "asyncio.Future[list[R | Exception]]":
        """As `write` for each of `items`, in one commit where none fails: the future has a result for each, in order.

        It has no exception of its own: whatever is raised is the result of its item.
        """
        ...

    async def read(self, query: Callable[..., R], *arguments: Any) -> R:
        """The result of `query(connection, *arguments)`, from committed data. Raises StorageUnavailable."""
        ...

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Has `tell` called in the event loop after each batch of writes of this process."""
        ...

    async def probe(self) -> bool:
        """True when the database can be written."""
        ...

    async def lead(self) -> None:
        """Takes or renews the leadership of a shared database; to be called every few seconds."""
        ...

    async def close(self) -> None:
        """Finishes what was handed in and closes the database."""
        ...
