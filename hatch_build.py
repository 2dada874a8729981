"""The build hook: a wheel brings the stubs, made from proto/ by the same code that nox calls."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CodegenHook(BuildHookInterface[Any]):
    """Generates before a wheel or an editable install is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling for each version of a target."""
        if self.target_name != "wheel":
            return
        sys.path.insert(0, self.root)
        from ordersys.codegen import generate

        generate(Path(self.root))
