"""The tutorial can be followed: each of its commands is typed, in order, on a system of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.integration.api import eventually
from tests.integration.conftest import skip_without_rabbitmq
from tests.running import addresses, local

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- follow -->\n```sh\n(.+?)```", PAGE, re.DOTALL)
CLIENT = "python -m ordersys.grpc_client "
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SECONDS = 60
EXPECTED = [
    ("products", "oak-desk"),
    ("place oak-desk=1 footrest=2", "anna"),
    ("notifications --order", "of anna was placed"),
    ("place oak-desk=1", "bob"),
    ("python -c", ".1', 'ordersys.api.order.v1.OrderCreated')"),
    ("notifications", "of bob was placed"),
    ("place footrest=1", "cleo"),
    ("notifications", "of cleo was placed"),
    ("product oak-desk", "118     2"),
    ("place oak-desk=2", "exit status 3"),
    ("product oak-desk", "116     4"),
    ("orders", "dora"),
    ("product oak-desk", "116     4"),
    ("python -c", ""),
    ("dead-letters", "content_type is not application/protobuf"),
    ("dead-letters replay --all", "replayed 1"),
    ("dead-letters", "content_type is not application/protobuf"),
    ("dead-letters discard --all", "discarded 1"),
    ("demo", ""),
]


def commands() -> Iterator[str]:
    """As they are typed, without what is said about them."""
    for block in BLOCKS:
        for line in block.replace("\\\n", "").splitlines():
            yield re.sub(r"  +#.*", "", line)


def expected(command: str, left: list[tuple[str, str]]) -> str:
    """The text that has to stand in its output."""
    typed, said = left.pop(0)
    assert command.removeprefix(CLIENT).startswith(typed), command
    return said


class Terminal:
    """A terminal: commands are typed in the folder that holds the system's, with its exports."""

    def __init__(self, folder: Path, exports: dict[str, str]) -> None:
        self._folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, **exports, "PATH": path, "PYTHONPATH": str(ROOT), "ORDER": ""}

    def type(self, command: str) -> str:
        """Type a command; returns its output. Fails when it fails."""
        done = self.tried(command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def tried(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Type a command that may fail; returns its result."""
        return subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self._folder,
            env=self._environment,
            timeout=SECONDS,
            check=False,
            capture_output=True,
            text=True,
        )

    def keep(self, order_id: str) -> None:
        """As ORDER=… does."""
        self._environment["ORDER"] = order_id

    def kill(self, signal: str, program: str) -> None:
        """As pkill does, but nobody else's process."""
        (process,) = [process for process in psutil.process_iter() if self._is_ours(process, program)]
        self.type(f"kill -{signal} {process.pid}")

    def _is_ours(self, process: psutil.Process, program: str) -> bool:
        try:
            words, environment = process.cmdline(), process.environ()
        except psutil.Error:
            return False
        mine = str(self._folder)
        if program == "beam.smp":
            return bool(words) and words[0].endswith(program) and any(mine in word for word in words)
        return program in words and environment.get("ORDERSYS_DATA_DIR", "").startswith(mine)


def _said(terminal: Terminal, command: str, said: str) -> str:
    """The output of a command once these words stand in it, else nothing: a service may still be starting."""
    done = terminal.tried(command)
    return done.stdout if done.returncode == 0 and said in done.stdout else ""


@pytest.mark.timeout(400)
def test_every_step_does_what_the_page_says(tmp_path: Path) -> None:
    """Output that the page waits for has to come."""
    skip_without_rabbitmq()
    left, is_late, printed = list(EXPECTED), False, ""
    with local(tmp_path / "orders") as process:
        terminal = Terminal(tmp_path, addresses(process))
        for command in commands():
            if command.startswith("sleep "):
                is_late = True
            elif command.startswith("ORDER="):
                terminal.keep(ID.findall(printed)[0])
            elif match := re.fullmatch(r"pkill -(\w+) (?:-f )?([\w.]+)", command):
                terminal.kill(*match.groups())
            else:
                said = expected(command, left)
                if is_late:
                    printed = eventually(partial(_said, terminal, command, said), SECONDS)
                else:
                    printed = terminal.type(command)
                    assert said in printed, f"{command}: {printed}"
                is_late = False
    assert not left
