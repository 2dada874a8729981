"""Errors of storage. No status of gRPC among them: `runtime.rpc` has one for what a client may learn of.

    StorageError
    ├── StorageUnavailable   what whoever reads or writes a database gets
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


class FileLost(StorageError):
    """The file is not the one this process has opened, or damaged: nothing may be written to it, or read from it."""
