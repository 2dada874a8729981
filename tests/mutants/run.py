"""`python -m tests.mutants.run NAME MODULE …`: runs `python -m ordersys.MODULE …` as that mutant.

But for the edit it is that very process: its own interpreter, arguments, environment, signals and exit status.
"""

import runpy
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Edit


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


def main() -> None:
    """Applies the mutant and becomes the module."""
    _, name, module, *arguments = sys.argv
    if name not in MUTANTS:
        sys.exit(f"{name!r} is no mutant")
    sys.meta_path.insert(0, Finder(MUTANTS[name].edits))
    sys.argv = [module, *arguments]
    runpy.run_module(f"ordersys.{module}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
