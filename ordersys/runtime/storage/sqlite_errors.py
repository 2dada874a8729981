"""SQLite's errors: those that are about the file, or its file system; any other is a bug in a statement.

The result code decides, and no class of the driver: a damaged file raises DatabaseError as wrong SQL does, a full disk
OperationalError as a missing table does (docs/reliability.md, "damage met in a call").
"""

import sqlite3

from sqlalchemy.exc import DBAPIError

from ordersys.runtime.storage.errors import FileLost

# https://www.sqlite.org/rescode.html
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_STORAGE = (
    _DAMAGE
    | _LOCKED
    | {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


def file_error(result: object) -> Exception | None:
    """The error that says of a file that it can't be used, taken out of SQLAlchemy's; None of any other result."""
    cause = result.orig if isinstance(result, DBAPIError) else result
    if isinstance(cause, FileLost):
        return cause
    return cause if isinstance(cause, sqlite3.Error) and _code(cause) in _STORAGE else None


def is_damage(error: object) -> bool:
    """True when SQLite has met damage in the file."""
    return isinstance(error, sqlite3.Error) and _code(error) in _DAMAGE


def is_read_only(error: object) -> bool:
    """True when a statement was to write where that is not possible."""
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_READONLY


def is_interrupted(error: sqlite3.Error) -> bool:
    """True when a statement was ended before its end, as its progress handler wished."""
    return _code(error) == sqlite3.SQLITE_INTERRUPT


def hinders_all(error: Exception) -> bool:
    """True when each item alone would meet the same: for as long again where somebody else holds the file."""
    cause = file_error(error)
    return isinstance(cause, FileLost) or (cause is not None and _code(cause) in _LOCKED | _DAMAGE)


def damaged(text: str) -> sqlite3.DatabaseError:
    """The error SQLite would raise, had it met the damage in a statement."""
    error = sqlite3.DatabaseError(" ".join(text.split()))
    # A check answers in rows, and raises nothing.
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 of what the driver, or Python, says by itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
