"""`python -m tests.mutants.run NAME MODULE …`: runs `python -m ordersys.MODULE …` as that mutant.

NAME is one of the catalogue, or that of a mutation by machine. But for the edit it is that very process: its own
interpreter, arguments, environment, signals and exit status.
"""

import resource
import runpy
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Protocol

from tests.mutants.catalogue import MUTANTS
from tests.mutants.machine import mutation

# A loop without an end must not take the machine's memory, which a service is far from needing.
_MOST_BYTES = 2 * 1024**3


class Edit(Protocol):
    """A change of one module."""

    @property
    def full_name(self) -> str:
        """The module as Python imports it."""

    def make(self, source: str) -> str:
        """`source` with the change made."""


class Loader(SourceFileLoader):
    """Loads a module with edits made."""

    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def path_stats(self, path: str | bytes) -> dict[str, float]:
        """Nothing is known of the file: no bytecode of the whole module is taken, none of the broken one kept."""
        raise OSError(path)

    def get_data(self, path: str | bytes) -> bytes:
        """The source."""
        source = super().get_data(str(path)).decode()
        for edit in self._edits:
            source = edit.make(source)
        return source.encode()


class Finder(MetaPathFinder):
    """Finds the modules that are edited before anybody else does."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._edits = tuple(edits)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module, None when it stays as it is."""
        edits = [edit for edit in self._edits if edit.full_name == name]
        spec = PathFinder.find_spec(name, path) if edits else None
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(name, spec.origin, edits)
        return spec


def _edits(name: str) -> Sequence[Edit]:
    if mutation.is_name(name):
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
    try:
        return [mutation.find(name)] if mutation.is_name(name) else MUTANTS[name].edits
    except LookupError:
        sys.exit(f"{name!r} is no mutant")


def main() -> None:
    """Applies the mutant and becomes the module."""
    _, name, module, *arguments = sys.argv
    sys.meta_path.insert(0, Finder(_edits(name)))
    sys.argv = [module, *arguments]
    runpy.run_module(f"ordersys.{module}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
