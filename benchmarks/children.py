"""Programs of this folder as child processes, with requests and replies as lines of JSON.

The load generator and the baselines so share no interpreter with the measurement, and none outlives the run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ordersys.local.groups import end
from ordersys.local.guard import Guard

_END_SECONDS = 5.0  # for a child to end by itself, before it is killed


class ChildFailed(Exception):
    """A child ended before it answered; the text names it and its log."""


class Child:
    """A running `python -m benchmarks.MODULE`."""

    def __init__(self, guard: Guard, folder: Path, module: str, *arguments: str) -> None:
        self.module = module
        self._guard = guard
        self._log = folder / f"{module}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"benchmarks.{module}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                text=True,
                start_new_session=True,
            )
        self._group = guard.watch(self._process.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, **question: Any) -> Any:
        """The answer to `question`. Raises ChildFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            last = self._log.read_text(errors="replace").splitlines()[-5:]
            raise ChildFailed(f"benchmarks.{self.module} did not answer; the end of {self._log}: {last}") from error

    def close(self) -> None:
        """Ends the child: closes its standard input, and kills it if that is not enough."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            end([self._group])
            self._process.wait()
        self._guard.forget(self._group)


def answer_all(answer: Callable[..., Any]) -> None:
    """Runs in the child: answers each request on standard input until it ends."""
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
