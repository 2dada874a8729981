"""Databases in PostgreSQL that processes share: a real server, real connections, each cut or stopped for real.

Each `PostgreSQLDatabase` here is what a process of a service would have; to the server it is all the same that they are
in one process.
"""

import asyncio
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from google.rpc.status_pb2 import Status
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection

from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest, AdjustStockResponse, PlaceOrderRequest
from ordersys.contract.errors import StatusError
from ordersys.local import ports
from ordersys.local.choices import SERVICES
from ordersys.local.postgresql_programs import OLDEST, Programs, installed, packaged
from ordersys.order_service.store import SCHEMA as ORDERS
from ordersys.product_service.saga import Result, Saga
from ordersys.product_service.store import placements, products, sagas, seed
from ordersys.product_service.store.tables import SCHEMA, quantities, stored
from ordersys.runtime.base import database_url
from ordersys.runtime.base.failpoints import VARIABLE
from ordersys.runtime.base.ids import uuid7
from ordersys.runtime.storage import postgresql_database, postgresql_writer
from ordersys.runtime.storage.errors import CommitUnknown, StorageUnavailable
from ordersys.runtime.storage.postgresql_connection import shut_down
from ordersys.runtime.storage.postgresql_database import PostgreSQLDatabase
from ordersys.runtime.storage.schema import Schema, UnusableDatabase
from ordersys.runtime.storage.statements import driver_of, lock_number
from tests import postgresql
from tests.integration.conftest import skip_without_postgresql

# None: the one that is given, or none at all, which says why it is skipped.
VERSIONS = [programs for programs in (*installed(), *packaged()) if programs.major >= OLDEST]
SERVERS: list[Programs | None] = [None] if postgresql.given() or not VERSIONS else [*VERSIONS]
PAGE = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
LAMP, TABLE = (Product(id=id_, name=id_, available=50) for id_ in ("lamp", "table"))
PROCESSES = 3
_FLUSH = b"H\0\0\0\4"  # asks to be answered without delay; psycopg says it once more when nothing is open
_READY = b"Z\0\0\0\5I"  # ends the beginning of a connection
_COMMITTED = b"COMMIT\0"  # the tag that the server answers
_END_ALL: LiteralString = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"
)


@pytest.fixture(scope="module", params=SERVERS, ids=lambda programs: f"{programs.major}" if programs else "given")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of each version that is here."""
    if not postgresql.given():
        skip_without_postgresql()
    programs: Programs | None = request.param
    home = programs.folder if programs else None
    with postgresql.server(tmp_path_factory.mktemp("server") / "postgresql", "-F", home=home) as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    with postgresql.database(server, f"t{random.getrandbits(60)}") as url:
        yield url


@asynccontextmanager
async def opened(url: str, count: int = 1, schema: Schema = SCHEMA) -> AsyncIterator[list[PostgreSQLDatabase]]:
    """The databases of that many processes of the Product Service, all started at once."""
    place = database_url.parse(url)
    assert place is not None
    first = partial(seed.seed, products=[LAMP, TABLE], orders=[])
    databases = await asyncio.gather(*(PostgreSQLDatabase.open(place, schema, first) for _ in range(count)))
    try:
        yield databases
    finally:
        for database in databases:
            await database.close()


def placing(**items: int) -> placements.NewPlacement:
    request = PlaceOrderRequest(request_id=uuid7(), customer_id="c")
    for product_id, quantity in items.items():
        request.items.add(product_id=product_id, quantity=quantity)
    return placements.NewPlacement(request, "t")


def synchronous_commit(connection: Connection, items: list[None]) -> list[str]:
    return [driver_of(connection).execute("SHOW synchronous_commit").fetchone()[0] for _ in items]


def adjusting(delta: int) -> AdjustStockRequest:
    return AdjustStockRequest(request_id=uuid7(), product_id="lamp", delta=delta)


async def test_of_processes_that_start_at_once_one_makes_the_tables(url: str) -> None:
    """The others find them; what a new database starts with is there once."""
    async with opened(url, 6) as databases:
        assert [await database.probe() for database in databases] == [True] * 6
        assert [product.id for product in await databases[-1].read(products.page, None, 10)] == ["lamp", "table"]


async def test_no_unit_is_sold_twice_or_lost(url: str) -> None:
    """Whichever process sells, completes, compensates or adjusts, all at once: what is held is what orders hold."""
    async with opened(url, PROCESSES) as databases:
        wanted = [placing(lamp=random.randint(1, 3), table=random.randint(1, 3)) for _ in range(60)]
        begun = await asyncio.gather(
            *(database.write(placements.begin, placement) for placement in wanted for database in databases)
        )
        pending = {saga.saga_id: saga for saga in begun if isinstance(saga, Saga)}
        results: list[Result] = [b"", StatusError(Status(code=9))]
        settled = [sagas.Settled(saga, random.choice(results)) for saga in pending.values()]
        adjusted = [adjusting(1) for _ in range(20)]
        await asyncio.gather(
            *(database.write(sagas.settle, each) for each in settled for database in random.sample(databases, 2)),
            *(database.write(products.adjust_stock, request) for request in adjusted for database in databases),
        )
        stock = {p.id: (p.available, p.held) for p in await databases[0].read(products.page, None, 10)}
        held = await databases[0].read(reserved)
        assert {product: numbers[1] for product, numbers in stock.items()} == {
            "lamp": held["lamp"],
            "table": held["table"],
        }
        assert sum(stock["lamp"]) == LAMP.available + len(adjusted)
        assert sum(stock["table"]) == TABLE.available
        assert len({saga.order_id for saga in pending.values()}) == len(pending)


def reserved(connection: Connection) -> Counter[str]:
    units: Counter[str] = Counter()
    for row in driver_of(connection).execute("SELECT units FROM reservations").fetchall():
        units.update(quantities(row[0]))
    return units


@pytest.mark.parametrize("point", ["schema.created:1", "postgresql.performed:1", "postgresql.committed:1"])
@pytest.mark.parametrize("service", ["order_service", "product_service"])
def test_a_process_may_die_between_any_two_effects(tmp_path: Path, url: str, service: str, point: str) -> None:
    """The next one starts as if nothing had happened, with everything seeded once."""
    assert killed_at(point, service, url, tmp_path)
    assert killed_at("postgresql.committed:2", service, url, tmp_path)  # it has made the tables, and goes on working
    table = service.removesuffix("_service") + "s"
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {service}.{table}").fetchone()  # noqa: S608 - our own names
    assert row is not None
    assert row[0] > 0


def killed_at(point: str, service: str, url: str, folder: Path) -> bool:
    """Runs a service until it dies at that point, as by kill -9; false where it ends otherwise."""
    addresses = {f"ORDERSYS_{name.upper()}_ADDRESS": f"{ports.LOOPBACK}:{ports.free(1)[0]}" for name in SERVICES}
    settings = {
        **addresses,
        "ORDERSYS_DATABASE_URL": url,
        "ORDERSYS_DATA_DIR": str(folder),
        "ORDERSYS_AMQP_URL": "amqp://127.0.0.1:1",
        VARIABLE: point,
    }
    command = [sys.executable, "-m", f"ordersys.{service}"]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, timeout=60, check=False)
    return done.returncode == -signal.SIGKILL


async def test_an_adjustment_is_answered_with_the_product_as_it_was_then(url: str) -> None:
    """Of adjustments at once each has a number of its own."""
    async with opened(url, PROCESSES) as databases:
        outcomes = await asyncio.gather(
            *(databases[n % PROCESSES].write(products.adjust_stock, adjusting(1)) for n in range(60))
        )
        shown = sorted(outcome.unpack(AdjustStockResponse).product.available for outcome in outcomes)
        assert shown == [LAMP.available + number for number in range(1, 61)]


async def test_a_connection_that_ends_costs_no_write(url: str) -> None:
    """Sessions are terminated all the while: every write is answered, and done once."""
    async with opened(url, PROCESSES) as databases:
        stop = asyncio.Event()

        def terminate() -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

        async def keep_terminating() -> None:
            while not stop.is_set():
                await asyncio.to_thread(terminate)
                await asyncio.sleep(0.1)

        killing = asyncio.create_task(keep_terminating())
        for _ in range(20):
            await asyncio.gather(*(database.write(products.adjust_stock, adjusting(1)) for database in databases))
        stop.set()
        await killing
        assert (await databases[0].read(products.get, "lamp")).available == LAMP.available + 20 * PROCESSES


class Cut:
    """Between a database and its server; loses the answer to a COMMIT, and all that comes behind it."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self.losing = False
        self.silent = 0
        """The number of new connections that hang as soon as they are open."""
        self.lost = asyncio.Event()
        self.turns = 0
        """How often something was said to the server after it had spoken: the round trips."""
        self._server_spoke = True
        self._connections: list[asyncio.Task[None]] = []
        self._hanging: list[asyncio.Task[None]] = []

    def hang(self) -> None:
        """From now on nothing passes through the connections there are; new ones are as before."""
        self._hanging = list(self._connections)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The URL by which it is reached."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        try:
            yield self._server._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
        finally:
            listener.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.append(task)
        opened_ = [writer]
        try:
            there, back = await asyncio.open_connection(self._server.hostname, self._server.port)
            opened_.append(back)
            await asyncio.gather(self._to_server(task, reader, back), self._to_client(task, there, writer))
        except (OSError, asyncio.CancelledError):
            pass  # the end of the test, or nobody listens there
        finally:
            for each in opened_:
                each.close()
                with suppress(OSError):
                    await each.wait_closed()

    async def _to_server(
        self, task: "asyncio.Task[None]", reader: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        try:
            while octets := await reader.read(65536):
                if task in self._hanging:
                    continue
                if octets != _FLUSH:
                    self.turns += self._server_spoke
                    self._server_spoke = False
                back.write(octets)
                await back.drain()
        except OSError:
            pass
        back.close()

    async def _to_client(
        self, task: "asyncio.Task[None]", there: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        is_open = False
        try:
            while octets := await there.read(65536):
                if not is_open and _READY in octets:
                    is_open = True
                    if self.silent:
                        self.silent -= 1
                        self._hanging.append(task)
                if self.losing and _COMMITTED in octets:
                    self.lost.set()
                    break
                self._server_spoke = True
                writer.write(octets)
                await writer.drain()
        except OSError:
            pass
        writer.close()


@pytest.mark.parametrize("behind", [1, 3])
async def test_what_stood_behind_an_error_is_done_the_next_time(url: str, behind: int) -> None:
    """The server never saw the statements that an aborted pipeline had behind it, however often they were used."""

    def read(connection: Connection, broken: list[bool]) -> list[int]:
        driver = driver_of(connection)
        if any(broken):
            driver.execute("INSERT INTO products (product_id) VALUES (NULL)")
        answers = [driver.execute("SELECT %s", (number,)) for number in range(behind)]
        return [0 if any(broken) else len([answer.fetchall() for answer in answers])] * len(broken)

    async with opened(url) as (database,):
        for broken in [False, True] * 12:
            (answer,) = await asyncio.gather(database.write(read, broken), return_exceptions=True)
            assert isinstance(answer, psycopg.errors.NotNullViolation) if broken else answer == behind, repr(answer)


async def test_a_server_that_forgot_a_statement_is_told_again(url: str) -> None:
    """Somebody between has given away what a connection had prepared, as poolers do: nothing fails of it."""

    def read(connection: Connection, numbers: list[int]) -> list[int]:
        (row,) = driver_of(connection).execute("SELECT %s", (numbers[0],)).fetchall()
        return [row[0]] * len(numbers)

    def forget(connection: Connection, items: list[None]) -> list[None]:
        # In a block of its own, so that psycopg does not know of it.
        driver_of(connection).execute("DO 'BEGIN EXECUTE ''DEALLOCATE ALL''; END'")
        return [None] * len(items)

    async with opened(url) as (database,):
        for number in range(20):
            assert await database.write(read, number) == number
        for _ in range(10):
            await database.write(forget, None)
        assert await database.write(read, 7) == 7


@pytest.mark.parametrize("reads", [True, False])
async def test_of_a_server_that_hangs_no_connection_is_used_again(
    url: str, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """One read, or one transaction, waits for it; nobody else who comes afterwards does."""
    monkeypatch.setattr(postgresql_database, "_READ_SECONDS", 1.0)
    monkeypatch.setattr(postgresql_database, "_ANSWER_SECONDS", 1.0)
    cut = Cut(url)
    async with cut.listening() as through, opened(through) as (database,):
        for _ in range(6):
            await database.write(placements.begin, placing(lamp=1))
        await asyncio.gather(*(database.probe() for _ in range(6)))
        cut.hang()
        if reads:
            assert await database.read(products.page, None, 10)
        else:
            with pytest.raises(StorageUnavailable):
                await database.write(placements.begin, placing(lamp=1))
        for _ in range(6):
            await database.write(placements.begin, placing(lamp=1))
        assert await asyncio.gather(*(database.probe() for _ in range(6))) == [True] * 6


@pytest.mark.parametrize("reads", [False, True], ids=["writes", "reads"])
async def test_a_server_that_hangs_behind_a_new_connection_is_waited_for_some_seconds(url: str, reads: bool) -> None:
    """As a pooler does that has no server: nobody has made a request by then that could be given up."""
    cut = Cut(url)
    async with cut.listening() as through, opened(through) as (database,):
        cut.silent = 1
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_END_ALL, (urlsplit(url).path[1:],))
        async with asyncio.timeout(30):
            if reads:
                assert await database.read(products.page, None, 10)
            else:
                await database.write(placements.begin, placing(lamp=1))
        assert cut.silent == 0


async def test_a_transaction_that_is_given_up_while_it_connects_begins_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would end its wait, should the server hang then."""
    ran: list[int] = []

    def operation(_: Connection, items: list[int]) -> list[int]:
        ran.extend(items)
        return items

    async with opened(url) as (database,):
        writer, connect = database._writers[0], database._engine.connect

        def connect_late() -> Connection:
            writer.give_up()
            return connect()

        with monkeypatch.context() as patch:
            patch.setattr(database._engine, "connect", connect_late)
            answers = await writer.thread.do(writer.transact, operation, [1])
        assert [type(answer) for answer in answers] == [StorageUnavailable]
        assert not ran
        assert await writer.thread.do(writer.transact, operation, [1]) == [1]


@pytest.mark.parametrize("reads", [False, True], ids=["writes", "reads"])
async def test_what_ends_just_when_it_is_given_up_is_answered(
    url: str, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """It ends in a thread of its own; an error here would end the probe, and with it the process."""
    may_end = threading.Event()

    def work(_: Connection, items: Sequence[str] = ()) -> Any:
        assert may_end.wait(60)
        return items or "read"

    def shut_down_late(connection: psycopg.Connection[Any]) -> None:
        may_end.set()
        while database._reading or connection.info.transaction_status != TransactionStatus.IDLE:
            time.sleep(0.001)
        shut_down(connection)

    monkeypatch.setattr(postgresql_database, "_READ_SECONDS", 0.1)
    monkeypatch.setattr(postgresql_database, "_ANSWER_SECONDS", 0.1)
    for module in (postgresql_database, postgresql_writer):
        monkeypatch.setattr(module, "shut_down", shut_down_late)
    async with opened(url) as (database,):
        assert await (database.read(work) if reads else database.write(work, "written")) == (
            "read" if reads else "written"
        )
        assert await database.probe()


async def test_a_host_that_hangs_is_waited_for_once(url: str) -> None:
    """Connections are made to the host that took writes last; the others follow."""
    knocks: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: knocks.append(writer), "127.0.0.1", 0)
    server = urlsplit(url)
    hosts = f"127.0.0.1:{silent.sockets[0].getsockname()[1]},{server.hostname}:{server.port}"
    through = server._replace(netloc=f"postgres@{hosts}", query="connect_timeout=2").geturl()
    async with silent, opened(through) as (database,):
        for _ in range(6):
            await database.write(placements.begin, placing(lamp=1))
        await asyncio.gather(*(database.probe() for _ in range(6)))
        assert len(knocks) == 1
        knocks[0].close()


async def test_a_commit_takes_two_round_trips(url: str) -> None:
    """All that is read is asked in one, all that is written is said in the other."""
    cut = Cut(url)
    async with cut.listening() as through, opened(through) as (database,):
        for _ in range(30):  # each connection is made, and prepares its statements
            await database.write(placements.begin, placing(lamp=1))
        before = cut.turns
        await database.write(placements.begin, placing(lamp=1))
        assert cut.turns - before == 2


async def test_a_commit_whose_answer_is_lost_is_found_again(url: str) -> None:
    """It is done once, and answered as what it was."""
    cut = Cut(url)
    async with cut.listening() as through, opened(through) as (database,):
        cut.losing = True
        write = database.write(products.adjust_stock, adjusting(1))
        await cut.lost.wait()
        cut.losing = False
        await write
        assert (await database.read(products.get, "lamp")).available == LAMP.available + 1


async def test_a_commit_that_stays_unanswered_is_in_doubt(url: str) -> None:
    """Nobody is told that nothing was done: it may have been."""
    cut = Cut(url)
    async with cut.listening() as through, opened(through) as (database,):
        cut.losing = True
        with pytest.raises(CommitUnknown):
            await database.write(products.adjust_stock, adjusting(1))
        cut.losing = False
        assert (await database.read(products.get, "lamp")).available == LAMP.available + 1


@pytest.mark.parametrize("weak", ["off", "local", "remote_write"])
async def test_no_setting_of_the_database_makes_a_commit_weaker_than_on(url: str, weak: str) -> None:
    """`remote_write` waits for a standby, and not for its disk."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{urlsplit(url).path[1:]}" SET synchronous_commit = {weak}')
    async with opened(url) as [database]:
        assert await database.write(synchronous_commit, None) == "on"


async def test_without_a_server_nothing_was_done(url: str) -> None:
    """As long as no connection can be made, that is sure, and said within some seconds."""
    cut = Cut(url)
    async with cut.listening() as through, opened(through) as (database,):
        await database.write(products.adjust_stock, adjusting(1))
        cut._server = cut._server._replace(netloc=f"postgres@127.0.0.1:{closed_port()}")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_END_ALL, (urlsplit(url).path[1:],))
        with pytest.raises(StorageUnavailable):
            await database.write(products.adjust_stock, adjusting(1))
        assert not await database.probe()
        cut._server = urlsplit(url)
        assert (await database.read(products.get, "lamp")).available == LAMP.available + 1


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_one_process_leads_and_another_follows(url: str) -> None:
    """As soon as it has given the lease back, not before; a lease that is renewed stays."""
    async with opened(url, 2) as (first, second):
        await first.lead()
        for _ in range(2):
            await second.lead()
            await first.lead()
            assert (first.leadership.held, second.leadership.held) == (True, False)
        await first.close()
        await second.lead()
        assert second.leadership.held


async def test_a_lease_that_is_given_to_a_process_that_stops_is_given_back(url: str) -> None:
    """It was asked for when SIGTERM came, by a task that is cancelled then: others need not wait until it ends."""
    async with opened(url, 2) as (first, second):
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("LOCK TABLE product_service.leases IN SHARE MODE")
            asking = asyncio.ensure_future(first.lead())
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.wait([asking])
            closing = asyncio.ensure_future(first.close())
            await asyncio.sleep(0.1)
        await closing
        await second.lead()
        assert second.leadership.held


async def test_a_leader_that_stops_is_followed_when_its_lease_ends(url: str) -> None:
    """By the server's clock."""
    async with opened(url, 2) as (first, second):
        await first.lead()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE product_service.leases SET until = clock_timestamp()")
        await second.lead()
        await first.lead()
        assert (first.leadership.held, second.leadership.held) == (False, True)


@pytest.mark.parametrize(("oldest", "works"), [(SCHEMA.version, True), (SCHEMA.version + 1, False)])
async def test_a_newer_schema_says_who_can_work_with_it(url: str, oldest: int, works: bool) -> None:
    """An older process goes on beside newer ones where the upgrade only added; else it says that it can't."""

    def add(connection: Connection) -> None:
        driver_of(connection).execute("ALTER TABLE products ADD COLUMN colour TEXT DEFAULT ''")

    newer = Schema(SCHEMA.owner, (*SCHEMA.upgrades, add), oldest)
    async with opened(url) as (old,), opened(url, schema=newer):
        await old.write(products.adjust_stock, adjusting(1))
    if works:
        async with opened(url) as (database,):
            assert (await database.read(products.get, "lamp")).available == LAMP.available + 1
    else:
        with pytest.raises(UnusableDatabase, match="is newer than"):
            async with opened(url):
                pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE product_service.outbox", "it lacks outbox; somebody has changed it by hand"),
        ("DROP TABLE product_service.leases", "it lacks leases; somebody has changed it by hand"),
        ("DELETE FROM product_service.schema_version", "its table schema_version has 0 rows, and not one"),
        ("UPDATE product_service.schema_version SET version = -1", "its schema version -1 was written by no release"),
        (
            "UPDATE product_service.schema_version SET owner = 'x'",
            "it belongs to x, .* another one with ORDERSYS",
        ),
    ],
)
async def test_a_database_that_somebody_has_changed_is_refused(url: str, change: LiteralString, said: str) -> None:
    """At the start, in one line: not by whatever fails for it later."""
    async with opened(url):
        pass
    with psycopg.connect(url) as connection:
        connection.execute(change)
    with pytest.raises(UnusableDatabase, match=f"^database 127.0.0.1:[0-9]+/t[0-9]+: {said}"):
        async with opened(url):
            pass


@pytest.mark.parametrize(
    ("setting", "rights", "said"),
    [
        ("", "", "its user needs CREATE on the database, or has to own the schema product_service"),
        ("", "SELECT", "its user may not write leases, .*; its user needs CREATE on the database"),
        ("default_transaction_read_only = on", "ALL", "it is a standby, or default_transaction_read_only is set"),
        ("statement_timeout = '1ms'", "ALL", "a statement_timeout is set for its user or the database"),
    ],
)
async def test_a_user_who_cannot_work_is_told_what_is_missing(
    url: str, monkeypatch: pytest.MonkeyPatch, setting: LiteralString, rights: LiteralString, said: str
) -> None:
    """At the start, and not by the first change; one who has no schema may have it made by somebody else."""
    monkeypatch.setattr(postgresql_database, "_OPEN_SECONDS", 0.5)
    async with opened(url):
        pass
    name = f"u{random.getrandbits(60)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
        try:
            if rights:
                connection.execute(SQL("GRANT USAGE ON SCHEMA product_service TO {}").format(Identifier(name)))
                granted = SQL("GRANT {} ON ALL TABLES IN SCHEMA product_service TO {}")
                connection.execute(granted.format(SQL(rights), Identifier(name)))
            if setting:
                connection.execute(SQL("ALTER ROLE {} SET {}").format(Identifier(name), SQL(setting)))
            with psycopg.connect(url) as other:
                if "timeout" in setting:  # on a fast machine no statement takes so long by itself
                    other.execute("SELECT pg_advisory_lock(%s)", (lock_number(f"schema of {SCHEMA.owner}"),))
                with pytest.raises(UnusableDatabase, match=f"^database .*{said}"):
                    async with opened(url.replace("postgres@", f"{name}@")):
                        pass
        finally:
            connection.execute(SQL("DROP OWNED BY {}").format(Identifier(name)))
            connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))


@pytest.mark.parametrize(
    ("user", "name", "said"),
    [
        ("postgres", "nobodys", 'database "nobodys" does not exist; make it, with ENCODING'),
        ("nobody", None, 'role "nobody" does not exist; correct the user'),
    ],
)
async def test_what_the_url_names_in_vain_is_told(
    url: str, monkeypatch: pytest.MonkeyPatch, user: str, name: str | None, said: str
) -> None:
    """Once while it is waited for, in case somebody makes it, and at the end with the way out."""
    monkeypatch.setattr(postgresql_database, "_OPEN_SECONDS", 0.5)
    wrong = url.replace("postgres@", f"{user}@")
    with pytest.raises(UnusableDatabase, match=said):
        async with opened(urlsplit(wrong)._replace(path=f"/{name}").geturl() if name else wrong):
            pass


async def test_work_goes_on_while_the_tables_are_upgraded(url: str) -> None:
    """A transaction that waits for the upgrade in a circle is undone by the server and done again: nobody is told."""

    def add(connection: Connection) -> None:
        for table in reversed(SCHEMA.metadata.sorted_tables):
            driver_of(connection).execute(f"ALTER TABLE {table.name} ADD COLUMN colour TEXT")

    newer = Schema(SCHEMA.owner, (*SCHEMA.upgrades, add), SCHEMA.version)
    is_upgraded = asyncio.Event()

    async def work(database: PostgreSQLDatabase) -> int:
        done = 0
        while not is_upgraded.is_set() or not done:
            saga = await database.write(placements.begin, placing(lamp=1, table=1))
            assert isinstance(saga, Saga)
            await database.write(sagas.settle, sagas.Settled(saga, StatusError(Status(code=9))))
            done += 1
        return done

    async with opened(url, PROCESSES) as databases:
        workers = [asyncio.ensure_future(work(database)) for database in databases for _ in range(2)]
        async with opened(url, schema=newer) as (database,):
            is_upgraded.set()
            await asyncio.gather(*workers)
            assert {p.id: p.held for p in await database.read(products.page, None, 10)} == {"lamp": 0, "table": 0}


@pytest.mark.parametrize("text", ["\0", "\1", "a\0\1b\1\1\0", "ä\U0001f600\2"])
async def test_any_text_is_kept_as_it_is(url: str, text: str) -> None:
    """PostgreSQL's own takes no NUL."""
    async with opened(url) as (database,):

        def echoed(connection: Connection) -> list[str]:
            driver = driver_of(connection)
            return [driver.execute("SELECT %s::VARCHAR", (text,), binary=binary).fetchone()[0] for binary in (0, 1)]

        assert await database.read(echoed) == [text, text]


async def test_rows_are_locked_in_the_order_of_their_keys(url: str) -> None:
    """Adjustments and placements in every order: the server met no deadlock."""
    async with opened(url, PROCESSES) as databases:
        work = [
            database.write(placements.begin, placing(**dict(random.sample([("lamp", 1), ("table", 1)], 2))))
            for _ in range(10)
            for database in databases
        ]
        work += [database.write(products.adjust_stock, adjusting(1)) for _ in range(10) for database in databases]
        await asyncio.gather(*work)
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert row == (0,)


def test_the_folder_of_files_is_not_used(tmp_path: Path) -> None:
    """A backup is pg_dump's task, and the command says so."""

    settings = {"ORDERSYS_DATABASE_URL": "postgresql://u:s3cr3t@h/d", "ORDERSYS_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "ordersys.order_service", "backup", str(tmp_path / "b")]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "order-service: the state is in PostgreSQL (h:5432/d): use pg_dump and pg_restore\n"


def at_the_shell(command: str, url: str) -> list[str]:
    """The lines that a command of the operations page prints where `url` is told as the page says."""
    path = os.pathsep.join([*(str(Path(programs.path("psql")).parent) for programs in VERSIONS), os.environ["PATH"]])
    parts = urlsplit(url)
    at = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
    environment = {**os.environ, "PATH": path, "URL": at, "PGPASSWORD": parts.password or ""}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


needs_psql = pytest.mark.skipif(not VERSIONS and shutil.which("psql") is None, reason="needs psql")


@needs_psql
async def test_the_outbox_is_looked_into_by_the_command_of_the_page(url: str) -> None:
    """The rows that wait of an order, and why; of no other order. Beside processes that have the tables open."""
    (command,) = re.findall(r"```sh\n( +echo .+?)\n +```", PAGE, re.DOTALL)
    event = {"type": "t", "time": 1, "source": "s", "traceparent": "", "body": b"", "exchange": "e"}
    place = database_url.parse(url)
    assert place is not None
    database = await PostgreSQLDatabase.open(place, ORDERS)
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            for table, event_id, subject, others in (
                ("outbox", "ORDER.2", "ORDER", {}),
                ("outbox", "other.1", "other", {}),
                (
                    "outbox_late",
                    "ORDER.1",
                    "ORDER",
                    {"sequence": 1, "attempts": 3, "due_time": 0, "reason": "too large"},
                ),
                (
                    "outbox_late",
                    "other.1",
                    "other",
                    {"sequence": 2, "attempts": 3, "due_time": 0, "reason": "too large"},
                ),
            ):
                insert(
                    connection, "order_service", table, {**event, "event_id": event_id, "subject": subject, **others}
                )
        assert at_the_shell(command, url) == ["ORDER.2|not tried yet", "ORDER.1|3 tries; too large"]
    finally:
        await database.close()


@needs_psql
async def test_the_products_without_balance_are_those_that_the_query_of_the_page_names(url: str) -> None:
    """Held for nothing, or too few for the reservations of orders and the sagas that are pending."""
    _, query = re.findall(r"```sql\n(.+?)\n +```", PAGE, re.DOTALL)
    async with opened(url):
        with psycopg.connect(url, autocommit=True) as connection:
            for order, units in (("1", {"lamp": 3, "table": 2}), ("2", {"lamp": 1})):
                insert(connection, "product_service", "reservations", {"order_id": order, "units": stored(units)})
            connection.execute("UPDATE product_service.products SET held = 6 WHERE product_id = 'lamp'")
            connection.execute("UPDATE product_service.products SET held = 1 WHERE product_id = 'table'")
        assert set(at_the_shell(f"psql \"$URL\" -X -At <<'END'\n{query}\nEND", url)) == {"lamp|6|2", "table|1|-1"}
        with psycopg.connect(url, autocommit=True) as connection:
            saga = dict.fromkeys(("saga_id", "kind", "request_id", "traceparent"), "") | {"order_request": b""}
            row = {**saga, "order_id": "3", "reserved": stored({"lamp": 2})}
            insert(connection, "product_service", "sagas", row)
        assert at_the_shell(f"psql \"$URL\" -X -At <<'END'\n{query}\nEND", url) == ["table|1|-1"]


def insert(connection: "psycopg.Connection[Any]", schema: str, table: str, row: Mapping[str, object]) -> None:
    """A row as a service might have written it."""
    columns, values = SQL(", ").join(map(Identifier, row)), SQL(", ").join(SQL("%s") for _ in row)
    statement = SQL("INSERT INTO {}.{} ({}) VALUES ({})").format(Identifier(schema), Identifier(table), columns, values)
    connection.execute(statement, list(row.values()))
