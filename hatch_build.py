"""The build hook: a wheel brings the stubs and the contract as a page, made by the same code that nox calls."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CodegenHook(BuildHookInterface[Any]):
    """Generates before a wheel or an editable install is put together."""

    _elsewhere: "TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling for each version of a target."""
        if self.target_name != "wheel":
            return
        sys.path.insert(0, self.root)
        from tools.codegen import GENERATED, generate

        root = Path(self.root)
        if version == "editable":
            generate(root)
            return
        out = self._out(root)
        generate(root, out)
        build_data["force_include"].update({str(out / folder): folder.as_posix() for folder in GENERATED})

    def _out(self, root: Path) -> Path:
        """The source tree, as `python -m ordersys…` typed there takes the package that lies there; else a scratch."""
        if all(os.access(folder, os.W_OK) for folder in (root, root / "ordersys")):
            return root
        self._elsewhere = TemporaryDirectory(prefix="ordersys-stubs-")
        return Path(self._elsewhere.name)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling once the target is written."""
        if self._elsewhere is not None:
            self._elsewhere.cleanup()
