"""Beside a test: `python -m ordersys.local` in a process of its own, and work that threads do again and again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event


class EndedEarly(AssertionError):
    """It has ended before it ran; the last line is what it said of that."""


@contextmanager
def local(folder: Path, *arguments: str, insecure: bool = True) -> Iterator["subprocess.Popen[str]"]:
    """`python -m ordersys.local` in a process of its own."""
    command = [sys.executable, "-m", "ordersys.local", "--data-dir", str(folder), "--plain", *arguments]
    environment = {**os.environ, "ORDERSYS_INSECURE": str(insecure).lower()}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def rolling(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """`python -m ordersys.local --roll` for the system that runs with a folder."""
    command = [sys.executable, "-m", "ordersys.local", "--data-dir", str(folder), "--roll"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def addresses(process: "subprocess.Popen[str]") -> dict[str, str]:
    """The addresses it prints for talking to it, once it runs. Raises EndedEarly."""
    by_name: dict[str, str] = {}
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "export " in line:
            name, _, value = line.strip().removeprefix("export ").partition("=")
            by_name[name] = value
        if line.startswith("Running"):
            return by_name
    raise EndedEarly(f"it ended early: {''.join(said)}")


@contextmanager
def repeated(work: Callable[[], object], threads: int = 1, pause_seconds: float = 0.0) -> Iterator[None]:
    """Has so many threads do it again and again until the block ends, each after a pause.

    One that raises ends, and the end of the block raises the same.
    """
    over = Event()

    def repeat() -> None:
        while not over.wait(pause_seconds):
            work()

    with ThreadPoolExecutor(threads, "repeated") as pool:
        repeating = [pool.submit(repeat) for _ in range(threads)]
        try:
            yield
        finally:
            over.set()
            for each in repeating:
                each.result()
