"""Crash points: all known, each at one place, nothing when off, and a schema upgrade may die at its own."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from ordersys.local import ports
from ordersys.local.system import SERVICES
from ordersys.runtime.base.failpoints import VARIABLE, failpoint
from tests.integration.faults.environment.setup import POSTGRESQL, SQLITE
from tests.integration.faults.faults.crash_points import compiled_in, in_traffic
from tests.integration.faults.faults.fault import GRACE_SECONDS

_SECONDS = 60
UPGRADE = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import text
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.schema import Schema

def add(column):
    return lambda connection: connection.execute(text(f"ALTER TABLE schema_version ADD COLUMN {column} INTEGER"))

async def main():
    schema = Schema("tests", [add("one"), add("two")][: int(sys.argv[2])])
    await (await Database.open(Path(sys.argv[1]), schema)).close()

asyncio.run(main())
"""


def run(*command: str, point: str = "", **environment: str) -> int:
    """A Python process that may die at a point; its exit status."""
    failpoint = {VARIABLE: point} if point else {}
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **environment, **failpoint},
        timeout=_SECONDS,
        check=False,
        capture_output=True,
    )
    return done.returncode


def test_each_point_stands_in_the_code_once() -> None:
    """So that a name says where."""
    assert not [name for name, times in Counter(p.name for p in compiled_in()).items() if times > 1]


@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL])
def test_every_service_dies_at_points_of_its_own(database: str) -> None:
    """Each has more of them than just its start."""
    for service in SERVICES:
        assert len([point for point in in_traffic(database) if service in point.services]) > 5


def test_a_point_nobody_named_is_passed() -> None:
    """Tests run without the variable, as services do."""
    assert VARIABLE not in os.environ
    for point in compiled_in():
        failpoint(point.name)


def test_a_process_dies_at_the_pass_that_was_named() -> None:
    """As by kill -9, and not before."""
    program = "from ordersys.runtime.base.failpoints import failpoint\nfor _ in range(2): failpoint('here')"
    assert run("-c", program, point="here:2") == -signal.SIGKILL
    assert run("-c", program, point="here:3") == 0
    assert run("-c", program, point="elsewhere") == 0


def test_a_process_stops_at_a_pass_and_goes_on_when_it_is_told_to() -> None:
    """As by SIGSTOP; with SIGCONT nothing has happened but time."""
    program = "from ordersys.runtime.base.failpoints import failpoint\nfailpoint('here')"
    environment = {**os.environ, VARIABLE: "here:1:stop"}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        process.send_signal(signal.SIGCONT)
        assert process.wait(_SECONDS) == 0


@pytest.mark.parametrize("point", ["schema.created:1", "database.performed:1", "server.started:1"])
@pytest.mark.parametrize("service", ["order_service", "product_service"])
def test_a_new_database_is_whole_or_not_there(tmp_path: Path, service: str, point: str) -> None:
    """Killed while it was being made, the service starts as if nothing had happened, with everything seeded once."""
    addresses = {f"ORDERSYS_{name.upper()}_ADDRESS": f"{ports.LOOPBACK}:{ports.free(1)[0]}" for name in SERVICES}
    settings = {**addresses, "ORDERSYS_DATA_DIR": str(tmp_path), "ORDERSYS_AMQP_URL": "amqp://127.0.0.1:1"}
    assert run("-m", f"ordersys.{service}", point=point, **settings) == -signal.SIGKILL
    assert run("-m", f"ordersys.{service}", point="database.committed:2", **settings) == -signal.SIGKILL
    table = service.removesuffix("_service") + "s"
    with closing(sqlite3.connect(tmp_path / f"{service.removesuffix('_service')}.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > 0  # noqa: S608 - our own names


@pytest.mark.parametrize("passes", [1, 2])
def test_an_upgrade_is_whole_or_not_there(tmp_path: Path, passes: int) -> None:
    """Killed after any of its steps, the database is of its old version and is upgraded at the next start."""
    file = tmp_path / "tests.db"
    assert run("-c", UPGRADE, str(file), "0") == 0
    assert run("-c", UPGRADE, str(file), "2", point=f"schema.upgraded:{passes}") == -signal.SIGKILL
    assert columns(file) == ["owner", "version", "touch_time"]
    assert run("-c", UPGRADE, str(file), "2") == 0
    assert columns(file) == ["owner", "version", "touch_time", "one", "two"]


def columns(file: Path) -> list[str]:
    """Those of the table of versions."""
    with closing(sqlite3.connect(file)) as database:
        return [row[1] for row in database.execute("PRAGMA table_info(schema_version)")]


def test_a_service_may_die_at_the_very_end_of_its_stopping(tmp_path: Path) -> None:
    """All is written and closed by then: nothing but its database is left."""
    settings = {
        "ORDERSYS_ORDER_SERVICE_ADDRESS": f"{ports.LOOPBACK}:{ports.free(1)[0]}",
        "ORDERSYS_DATA_DIR": str(tmp_path),
        "ORDERSYS_AMQP_URL": "amqp://127.0.0.1:1",
    }
    environment = {**os.environ, **settings, VARIABLE: "process.stopping"}
    command = [sys.executable, "-m", "ordersys.order_service"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("serving on" in line for line in process.stdout)
        process.terminate()
        assert process.wait(GRACE_SECONDS) == -signal.SIGKILL
    assert {file.name for file in tmp_path.iterdir()} == {"order.db", "order.lock"}
