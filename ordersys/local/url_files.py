"""URLs of a broker and a database that may hold a password: given to our services in files, not in their environment.

More looks at an environment than at a file of one's own: lists of processes, core dumps, reports of errors, children.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ordersys.runtime.base.files import write_whole
from ordersys.runtime.base.settings import PREFIX

_FILE = "_FILE"


class UrlFiles:
    """A file in a folder for each URL, for this user alone, as long as it is wanted."""

    def __init__(self, folder: Path, urls: Mapping[str, str]) -> None:
        """`urls` are by variable."""
        self._urls = urls
        self._files = {name: folder / name.removeprefix(PREFIX).replace("_", "-").lower() for name in urls}

    @contextmanager
    def written(self) -> Iterator[None]:
        """Writes them, and removes them at the end. Raises OSError."""
        for name, file in self._files.items():
            write_whole(file, self._urls[name])
        try:
            yield
        finally:
            for file in self._files.values():
                with suppress(OSError):  # a file system that is read-only by now: it is still for its user alone
                    file.unlink(missing_ok=True)

    def in_place(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment of a service of ours, in which files stand for the URLs."""
        kept = {name: value for name, value in environment.items() if name not in self._files}
        return {**kept, **{f"{name}{_FILE}": str(file) for name, file in self._files.items()}}


def without(environment: Mapping[str, str], chosen: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """The environment without its own values of those of `names` that were chosen, which it may have in files."""
    theirs = {name + ending for name in names if name in chosen for ending in ("", _FILE)}
    return {name: value for name, value in environment.items() if name not in theirs}
