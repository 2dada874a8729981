"""A value loaded from files, loaded again when they change: an old one that works is kept while a new one does not."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from ordersys.runtime.base.errors import StartupError

_log = logging.getLogger(__name__)
_Stamp: TypeAlias = "tuple[int, ...] | None"
Value = TypeVar("Value")


class Watched(Generic[Value]):
    """The value that `load` made of `files` when it last could. For the event loop; other threads may read `value`.

    The constructor raises the StartupError of `load`.
    """

    def __init__(self, files: tuple[Path, ...], load: Callable[[], Value]) -> None:
        self._files = files
        self._load = load
        # Before they are read: a change while they are read is seen at the next reload.
        self._stamps: tuple[_Stamp, ...] | None = self._stamps_now()
        self.value = load()
        self.generation = 1
        """Rises with each new value."""
        self._trouble = ""

    def reload(self) -> bool:
        """True if the files have changed and a new value was made of them. Costs a `stat` for each file otherwise.

        What can't be used is logged, once, and tried again each time: files that are not valid yet will be, and a
        folder in which they may not be read can be opened, without a change that `stat` shows.
        """
        stamps = self._stamps_now()
        if stamps == self._stamps:
            return False
        try:
            value = self._load()
        except StartupError as error:
            self._stamps = None
            self._met(str(error))
            return False
        self._stamps, self._trouble = stamps, ""
        self.value = value
        self.generation += 1
        return True

    def _met(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            _log.error("%s; the old one stays in use", trouble)

    def _stamps_now(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> _Stamp:
    """A change of it is a change of the file, of its owner or its mode: a key may be open to others from now on.

    Follows links: Kubernetes exchanges one above the files.
    """
    try:
        status = file.stat()
    except OSError:
        return None  # loading it says why
    return status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode, status.st_uid
