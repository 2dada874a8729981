"""The private PostgreSQL: real servers, of each version that is here."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from ordersys.local import postgresql, unprivileged
from ordersys.local.database import PrivateDatabase
from ordersys.local.guard import Guard
from ordersys.local.postgresql import DATABASE, STANDBY_NAME, Server, ServerNotStarted, url
from ordersys.local.postgresql_programs import OLDEST, Programs, installed, packaged
from tests.integration.conftest import skip_without_postgresql

VERSIONS = [programs for programs in (*installed(), *packaged()) if programs.major >= OLDEST]

pytestmark = pytest.mark.skipif(
    not VERSIONS, reason="needs a PostgreSQL: installed, or of the dependency group postgresql-server"
)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """Ends whatever a test leaves running."""
    skip_without_postgresql()
    with closing(Guard(tmp_path)) as guard:
        yield guard


@pytest.fixture(params=VERSIONS, ids=lambda programs: f"{programs.major}")
def programs(request: pytest.FixtureRequest) -> Programs:
    """Those of each version."""
    chosen: Programs = request.param
    return chosen


@pytest.fixture
def server(tmp_path: Path, programs: Programs, guard: Guard) -> Iterator[Server]:
    """A server that runs."""
    server = Server(tmp_path / "primary", programs, guard, {"fsync": "off"})
    server.start()
    yield server
    server.kill()


def names_of(server: Server) -> str:
    """The rows of the table the tests use."""
    return server.sql("SELECT string_agg(name, ',' ORDER BY name) FROM products", DATABASE)


def filled(server: Server) -> Server:
    """With a table, and a row in it."""
    server.create_database()
    server.sql("CREATE TABLE products (name text); INSERT INTO products VALUES ('desk')", DATABASE)
    return server


def test_what_was_committed_is_there_after_a_kill(server: Server) -> None:
    """At the same port, with the same password; creating the database once more changes nothing."""
    before = filled(server).url
    server.kill()
    assert not server.running
    server.start()
    server.create_database()
    assert names_of(server) == "desk"
    assert server.url == before


def test_a_server_stops_though_clients_are_connected(server: Server) -> None:
    """Supervision ends services last or first, and waits for none of them."""
    environment = {**os.environ, "PGPASSWORD": server.password}
    at = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "ordersys", "-d", "postgres"]
    client = subprocess.Popen([server.programs.path("psql"), *at], env=environment, stdin=subprocess.PIPE)
    while server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql'") != "2":
        pass
    server.stop()
    assert not server.running
    client.communicate()


def test_the_server_is_for_its_user_alone(server: Server) -> None:
    """It listens on loopback only, asks for its password, and shows it in no command line."""
    listening = psutil.Process(server.pid).net_connections("inet")
    assert {c.laddr.ip for c in listening if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert server.password not in " ".join(psutil.Process(server.pid).cmdline())
    at = ["-w", "-h", "127.0.0.1", "-p", str(server.port), "-U", "ordersys", "-d", "postgres", "-c", "SELECT 1"]
    for environment in ({"PGPASSFILE": "/dev/null"}, {"PGPASSWORD": "guessed"}):
        refused = subprocess.run(
            [server.programs.path("psql"), *at], env=environment, capture_output=True, text=True, check=False
        )
        assert refused.returncode != 0
        assert "password" in refused.stderr
    secret = Path(server.log.parent.parent / "password")
    assert secret.stat().st_mode & 0o077 == 0


def test_a_standby_has_what_was_committed_and_takes_over(tmp_path: Path, server: Server, guard: Guard) -> None:
    """With synchronous replication, when the primary is killed; clients of both find it by one URL."""
    filled(server)
    standby = Server(tmp_path / "standby", server.programs, guard)
    standby.follow(server)
    standby.start()
    server.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY_NAME}'")
    server.sql("SELECT pg_reload_conf()")
    server.sql("INSERT INTO products VALUES ('lamp')", DATABASE)
    assert standby.standby
    server.kill()
    standby.promote()
    assert not standby.standby
    standby.sql("INSERT INTO products VALUES ('shelf')", DATABASE)
    assert names_of(standby) == "desk,lamp,shelf"
    assert f"127.0.0.1:{server.port},127.0.0.1:{standby.port}/" in url([server, standby])
    standby.stop()
    standby.start()
    assert names_of(standby) == "desk,lamp,shelf"
    standby.kill()


def test_a_standby_that_lacks_what_its_primary_no_longer_has_is_named(
    tmp_path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of an earlier start, which was left out since: each commit would wait for it, and nobody would say so."""
    monkeypatch.setattr(postgresql, "_FOLLOW_SECONDS", 1.0, raising=False)
    for with_standby in (True, False):
        with ExitStack() as started:
            database = PrivateDatabase(tmp_path / "postgresql", guard, with_standby)
            database.start(started)
            for _ in range(3):
                database.primary.sql("CREATE TABLE IF NOT EXISTS orders (); INSERT INTO orders DEFAULT VALUES")
                database.primary.sql("SELECT pg_switch_wal()")
            database.primary.sql("CHECKPOINT")
    with ExitStack() as started:
        database = PrivateDatabase(tmp_path / "postgresql", guard, True)
        standby = tmp_path / "postgresql" / "standby"
        with pytest.raises(ServerNotStarted, match=f"remove {standby}.*(?s:.)*has already been removed"):
            database.start(started)
    shutil.rmtree(standby)
    with ExitStack() as started:
        database = PrivateDatabase(tmp_path / "postgresql", guard, True)
        database.start(started)
        database.primary.sql("INSERT INTO orders DEFAULT VALUES")


def test_a_lost_port_is_replaced_unless_it_was_given(tmp_path: Path, programs: Programs, guard: Guard) -> None:
    """Clients of a given one expect it there: then the error says why."""
    first = Server(tmp_path / "first", programs, guard, {"fsync": "off"})
    first.start()
    second = Server(tmp_path / "second", programs, guard, {"fsync": "off"}, first.port)
    with pytest.raises(ServerNotStarted, match="could not bind"):
        second.start()
    (tmp_path / "second" / "port").write_text(str(first.port))
    third = Server(tmp_path / "second", programs, guard, {"fsync": "off"})
    third.start()
    assert third.port != first.port
    first.kill()
    third.kill()


def test_words_of_an_earlier_start_say_nothing_about_this_one(
    tmp_path: Path, programs: Programs, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory was in use then; that a setting is wrong is no reason to try again and again."""
    monkeypatch.setattr(postgresql, "_BOOT_SECONDS", 5.0)
    server = Server(tmp_path / "primary", programs, guard, {"work_mem": "much"})
    server.prepare()
    server.log.write_text("FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use\n")
    with pytest.raises(ServerNotStarted, match="invalid value"):
        server.start()
    assert server.log.read_text().count("invalid value") == 1


def test_a_number_left_by_a_killed_server_keeps_nobody_from_starting(server: Server, tmp_path: Path) -> None:
    """It may be that of another program by now."""
    server.kill()
    lock = tmp_path / "primary" / "data" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    server.start()
    assert server.ready


def test_a_number_that_another_server_has_by_now_keeps_nobody_from_starting(
    server: Server, tmp_path: Path, guard: Guard
) -> None:
    """That of another system of this user, or of a standby; the lock of one that runs on the data stays."""
    other = Server(tmp_path / "other", server.programs, guard, {"fsync": "off"})
    other.start()
    lock = tmp_path / "primary" / "data" / "postmaster.pid"
    second = Server(tmp_path / "primary", server.programs, guard, {"fsync": "off"})
    with pytest.raises(ServerNotStarted, match=r"postmaster\.pid"):
        second.start()
    assert server.ready
    server.kill()
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
    server.start()
    assert server.ready
    other.kill()


@pytest.mark.skipif(len(VERSIONS) < 2, reason="needs two versions of PostgreSQL")
def test_data_of_another_version_is_refused_by_name(tmp_path: Path, guard: Guard) -> None:
    """Before the server says it in a log."""
    first = Server(tmp_path / "data", VERSIONS[0], guard)
    first.prepare()
    other = Server(tmp_path / "data", VERSIONS[1], guard)
    with pytest.raises(ServerNotStarted, match=f"of PostgreSQL {VERSIONS[0].major}"):
        other.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root")
def test_root_without_user_namespaces_has_another_user_run_it(
    programs: Programs, guard: Guard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container; a folder that user can't reach is named."""
    monkeypatch.setattr(unprivileged, "_NAMESPACE", "none")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "folder").mkdir(mode=0o700)
    with pytest.raises(OSError, match="refuses to run as root"):
        Server(closed / "folder" / "postgresql", programs, guard).start()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "postgresql", programs, guard, {"fsync": "off"})
        server.start()
        assert psutil.Process(server.pid).uids().effective == unprivileged._OTHER_USER
        assert names_of(filled(server)) == "desk"
        server.kill()
        server.start()
        assert names_of(server) == "desk"
        server.stop()
