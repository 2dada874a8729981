"""A service without an identity: it does not start, unless it is told to serve this machine alone, in clear."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ordersys.local import ports
from ordersys.local.choices import SERVICES
from ordersys.local.listening import variable
from tests.integration.api import eventually
from tests.integration.order_service import ended, order_service

SECONDS = 60
FILES = ("TLS_CA_FILE", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TOKEN_KEYS_FILE")


def started(module: str, folder: Path, address: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """A service that has to end by itself."""
    own = {"ORDERSYS_DATA_DIR": str(folder), variable(module): address, "ORDERSYS_AMQP_URL": "amqp://127.0.0.1:1"}
    command = [sys.executable, "-m", f"ordersys.{module}"]
    given = {**os.environ, **own, **settings}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=SECONDS, check=False)


def assert_refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """In one line that has these words, without a trace of work."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    for word in words:
        assert word in line


@pytest.mark.parametrize("module", SERVICES)
@pytest.mark.parametrize("said", ["", "false"])
def test_it_does_not_start(module: str, said: str, tmp_path: Path) -> None:
    """The line names all ways out; no database is made."""
    done = started(module, tmp_path / "data", f"127.0.0.1:{ports.free(1)[0]}", ORDERSYS_INSECURE=said)
    ways_out = ("ORDERSYS_TLS_CA_FILE", "python -m ordersys.identity init", "ORDERSYS_INSECURE=true")
    assert_refused(done, *ways_out, "python -m ordersys.local")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::ffff:0:0]", "192.0.2.1", "elsewhere.example"])  # noqa: S104 - it is refused
@pytest.mark.parametrize("module", SERVICES)
def test_insecure_it_serves_this_machine_alone(module: str, host: str, tmp_path: Path) -> None:
    """Another address is refused, with one that would do."""
    done = started(module, tmp_path / "data", f"{host}:{ports.free(1)[0]}", ORDERSYS_INSECURE="true")
    assert_refused(done, "ORDERSYS_INSECURE", variable(module), host, "127.0.0.1")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", FILES)
def test_it_has_an_identity_or_is_insecure(name: str, tmp_path: Path) -> None:
    """Not both: one of them is not what somebody meant."""
    file = {f"ORDERSYS_{name}": str(tmp_path / "file")}
    assert_refused(ended(tmp_path / "data", ORDERSYS_INSECURE="true", **file), "ORDERSYS_INSECURE", f"ORDERSYS_{name}")


def test_a_part_of_an_identity_is_none(tmp_path: Path) -> None:
    """The line names those that are missing."""
    done = ended(tmp_path / "data", ORDERSYS_INSECURE="", ORDERSYS_TLS_CA_FILE=str(tmp_path / "ca.pem"))
    assert_refused(done, *(f"ORDERSYS_{name}" for name in FILES[1:]), "missing")


def test_what_is_insecure_says_so_each_time(tmp_path: Path) -> None:
    """As a warning in the log, also on loopback."""
    for _ in range(2):
        with order_service(tmp_path / "data", ORDERSYS_INSECURE="TRUE") as service:
            eventually(lambda: service.says('"warning"', "ORDERSYS_INSECURE", "in clear", "everybody on this machine"))


@pytest.mark.parametrize("value", ["yes", "1", "insecure"])
def test_anything_else_is_no_answer(value: str, tmp_path: Path) -> None:
    """A word that was not understood opens nothing."""
    assert_refused(ended(tmp_path / "data", ORDERSYS_INSECURE=value), "ORDERSYS_INSECURE", "true or false")


def test_a_backup_needs_no_identity(tmp_path: Path) -> None:
    """It serves nobody."""
    with order_service(tmp_path / "data"):
        pass
    done = ended(tmp_path / "data", "backup", str(tmp_path / "backup.db"), ORDERSYS_INSECURE="")
    assert (done.returncode, done.stderr) == (0, "")
