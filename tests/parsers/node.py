"""Scripts that load the contract with a parser in Node, and print what they have found."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent
_SECONDS = 60


class Unreadable(Exception):
    """A parser has refused the contract; carries its own words."""


class Node:
    """Runs scripts that lie beside this module, with packages of `modules`, and the golden messages to read."""

    def __init__(self, program: str, modules: Path, golden: str) -> None:
        self._program = program
        self.programs = modules / ".bin"
        self._environment = {**os.environ, "NODE_PATH": str(modules)}
        self._golden = golden

    def run(self, script: str, *arguments: str | Path) -> dict[str, Any]:
        """The facts that the script prints. Raises Unreadable when it ends with a failure."""
        done = subprocess.run(
            [self._program, str(SCRIPTS / script), *map(str, arguments)],
            env=self._environment,
            input=self._golden,
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise Unreadable(done.stderr)
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed
