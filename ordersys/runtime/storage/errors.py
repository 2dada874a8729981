"""Errors of storage. No status of gRPC among them: `runtime.rpc` has one for what a client may learn of.

    StorageError
    ├── StorageUnavailable   what whoever reads or writes a database gets
    ├── CommitUnknown        the same, where it may have been done
    ├── RaceLost             a transaction has met another one: it is done again
    └── FileLost             its cause where the file is not the one that was opened

Whatever keeps a database from being opened is a StartupError of its own: `schema.UnusableDatabase`.
"""

from ordersys.runtime.base.errors import Unavailable


class StorageError(Exception):
    """An error of the storage itself; any other exception is a bug of whoever uses it."""


class StorageUnavailable(StorageError, Unavailable):
    """The database can't be read or written for now, and nothing was: the text says which one, and why.

    The same may succeed later: when there is room again, or whoever holds the file has let go of it.
    """


class CommitUnknown(StorageError, Unavailable):
    """The database was lost after it was told to commit, and did not come back in time: it may have done so, or not.

    The same, asked again, finds out. Only of a database that is reached over a network.
    """


class RaceLost(StorageError):
    """A transaction has read belongs to two states of the database: another one has committed in between.

    The whole of it is done again. Never of a database with a single writer.
    """


class FileLost(StorageError):
    """The file is not the one this process has opened, or damaged: nothing may be written to it, or read from it."""
