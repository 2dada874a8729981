"""Readers of a command's output may go, stop, or never have been there: a known exit status, and no traceback."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ordersys.local.system import SERVICES
from tests.integration.order_service import order_service

COMMANDS = (*SERVICES, "health", "identity", "live", "local", "grpc_client", "topology")
OUTPUT_FAILED, OUTPUT_CLOSED, WRONG_USE = 4, 141, 2
CLOSED = "the output can't be written: it is closed"
FULL = "the output can't be written: No space left on device"


def run(
    *words: str, output: str, errors: str = "pipe", folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """A command with its standard output (or standard error) "closed", "full", or to a pipe whose reader has "gone"."""
    reader, gone = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    files = {"pipe": subprocess.PIPE, "gone": gone, "full": full, "closed": subprocess.DEVNULL}
    closed = [number for number, how in ((1, output), (2, errors)) if how == "closed"]
    try:
        return subprocess.run(
            [sys.executable, "-m", *words],
            stdout=files[output],
            stderr=files[errors],
            env={**os.environ, **({"ORDERSYS_DATA_DIR": str(folder)} if folder else {})},
            text=True,
            timeout=100,
            check=False,
            preexec_fn=closing(closed),
        )
    finally:
        os.close(gone)
        os.close(full)


def closing(numbers: Sequence[int]) -> Callable[[], None] | None:
    """Closes these in the child, before the command begins."""

    def close() -> None:
        for number in numbers:
            os.close(number)

    return close if numbers else None


@pytest.mark.parametrize("command", COMMANDS)
def test_help_whose_reader_has_gone_ends_quietly(command: str) -> None:
    """As programs do that SIGPIPE ends."""
    done = run(f"ordersys.{command}", "--help", output="gone")
    assert (done.returncode, done.stderr) == (OUTPUT_CLOSED, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_that_cant_be_written_is_one_line(command: str) -> None:
    """A full disk."""
    done = run(f"ordersys.{command}", "--help", output="full")
    assert done.returncode == OUTPUT_FAILED
    assert done.stderr == f"python -m ordersys.{command}: {FULL}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_whose_output_is_closed_is_one_line(command: str) -> None:
    """By `>&-`: nothing was written, and whoever looks at the status is told so."""
    done = run(f"ordersys.{command}", "--help", output="closed")
    assert done.returncode == OUTPUT_FAILED
    assert done.stderr == f"python -m ordersys.{command}: {CLOSED}\n"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("errors", ["pipe", "gone", "full", "closed"])
def test_wrong_usage_is_one_line_and_2_whoever_reads_it(command: str, errors: str) -> None:
    """It names what was typed, and where the rest stands."""
    done = run(f"ordersys.{command}", "--nonsense", output="pipe", errors=errors)
    assert (done.returncode, done.stdout) == (WRONG_USE, "")
    if errors == "pipe":
        (line,) = done.stderr.splitlines()
        assert any(word in line for word in ("--nonsense", "COMMAND", "ADDRESS"))
        assert f"python -m ordersys.{command} --help" in line


def test_a_backup_is_made_whoever_hears_of_it(tmp_path: Path) -> None:
    """The backup is done; the status says that it could not be told, and standard error names the file."""
    folder = tmp_path / "data"
    with order_service(folder) as service:
        service.create()
        assert service.stop() == 0
    results = {}
    for output in ("gone", "full", "closed", "pipe"):
        file = tmp_path / f"{output}.db"
        done = run("ordersys.order_service", "backup", str(file), output=output, folder=folder)
        results[output] = done.returncode, done.stderr
        assert file.exists()
    assert results == {
        "gone": (OUTPUT_CLOSED, ""),
        "full": (OUTPUT_FAILED, f"python -m ordersys.order_service: {FULL}\n"),
        "closed": (OUTPUT_FAILED, f"python -m ordersys.order_service: {CLOSED}\n"),
        "pipe": (0, ""),
    }


def test_a_backup_whose_failure_nobody_reads_has_failed(tmp_path: Path) -> None:
    """With its own status."""
    for errors in ("gone", "full", "closed"):
        done = run("ordersys.order_service", "backup", "b", output="pipe", errors=errors, folder=tmp_path / "none")
        assert (done.returncode, done.stdout) == (WRONG_USE, "")


@pytest.mark.parametrize(
    ("words", "output", "status"),
    [((), "closed", OUTPUT_FAILED), ((), "gone", OUTPUT_CLOSED), (("--json",), "full", OUTPUT_FAILED)],
)
def test_a_demo_nobody_reads_is_played_and_says_how_it_ended(words: Sequence[str], output: str, status: int) -> None:
    """By the exit status; the broker and the services are stopped in good order."""
    done = run("ordersys.local", "--plain", "--demo", *words, output=output)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert (FULL in done.stderr) == (output == "full")
    assert "stopping" in done.stderr


def test_a_launcher_whose_reader_has_gone_ends_and_leaves_nothing(tmp_path: Path) -> None:
    """`2>&1 | head -n 1`: nobody would learn where its services are."""
    folder = tmp_path / "system"
    done = run("ordersys.local", "--plain", "--broker-only", "--data-dir", str(folder), output="pipe", errors="gone")
    assert done.returncode == OUTPUT_CLOSED
    assert not (folder / "processes").exists()


@pytest.mark.parametrize("errors", ["full", "closed"])
def test_a_launcher_that_cant_say_anything_goes_on(errors: str) -> None:
    """It may run for days with a log on a disk that is full by now."""
    done = run("ordersys.local", "--plain", "--demo", "--json", output="pipe", errors=errors)
    assert done.returncode == 0
    assert '"ok": true' in done.stdout.splitlines()[-1]
