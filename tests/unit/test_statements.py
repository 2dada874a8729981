"""Prebuilt statements: what SQLAlchemy would do with them, at the driver's price."""

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    delete,
    select,
    update,
)

from ordersys.runtime.storage import statements
from ordersys.runtime.storage.statements import Statement, inserting

METADATA = MetaData()
LAMPS = Table(
    "lamps",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("name", String(20)),
    Column("lit", Boolean),
)
ONE = LAMPS.c.name == bindparam("called")
INSERT = inserting(LAMPS)
SOME = Statement(select(LAMPS.c.name).where(LAMPS.c.name.in_(bindparam("names", expanding=True))).order_by(ONE))
REMOVE = Statement(delete(LAMPS).where(LAMPS.c.number.in_(bindparam("gone", expanding=True))))
DARKEN = Statement(update(LAMPS).where(ONE).values(lit=False, name=None))
NAMES = [f"lamp-{number}" for number in range(20)]


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        METADATA.create_all(connection)
        INSERT.run(connection, [{"name": name, "lit": True} for name in NAMES])
        yield connection
    engine.dispose()


def test_a_key_the_database_counts_is_left_to_it(connection: Connection) -> None:
    """The rows are numbered in their order."""
    rows = Statement(select(LAMPS).order_by(LAMPS.c.number)).rows(connection)
    assert rows == [(number, name, 1) for number, name in enumerate(NAMES, 1)]


@given(st.integers(0, 40), st.integers(1, 9))
def test_rows_are_taken_in_their_order_in_few_sizes(count: int, most: int) -> None:
    """None is left out, none comes twice; each size is a power of two, and no more are needed than that."""
    parts = list(statements._in_powers_of_two(range(count), most))
    assert [row for part in parts for row in part] == list(range(count))
    assert {len(part) for part in parts} <= {1, 2, 4, 8} & set(range(most + 1))
    assert len(parts) <= count // 2 ** (most.bit_length() - 1) + most.bit_length()


@pytest.mark.parametrize("count", [0, 1, 3, 20, 1000])
def test_all_of_a_list_are_removed(connection: Connection, count: int) -> None:
    """However long it is, and whether they are there or not."""
    REMOVE.do(connection, gone=list(range(1, count + 1)))
    assert len(Statement(select(LAMPS)).rows(connection)) == max(0, len(NAMES) - count)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 16, 17, 20])
def test_a_list_finds_its_rows_whatever_its_length(connection: Connection, count: int) -> None:
    """None for none, each once."""
    assert sorted(SOME.rows(connection, names=NAMES[:count], called="")) == sorted((name,) for name in NAMES[:count])


@given(st.integers(1, 5000))
def test_lists_have_few_lengths(count: int) -> None:
    """The next power of two, filled up with the last value: the driver keeps what it has compiled."""
    padded = statements._padded(values := list(range(count)))
    assert len(padded) & (len(padded) - 1) == 0
    assert len(padded) < 2 * count
    assert set(padded) == set(values)


def test_what_a_statement_sets_itself_needs_no_parameter(connection: Connection) -> None:
    """Constants, None among them, stand beside what each row gives; what it changed is counted."""
    assert DARKEN.run(connection, [{"called": "lamp-0"}, {"called": "lamp-1"}, {"called": "none"}]) == 2
    dark = select(LAMPS.c.name).where(~LAMPS.c.lit)
    assert Statement(dark).rows(connection) == [(None,), (None,)]


def test_nothing_to_do_is_not_done(connection: Connection) -> None:
    """No rows, no statement."""
    assert Statement(delete(LAMPS).where(ONE)).run(connection, ()) == 0


def test_a_parameter_that_is_missing_is_an_error(connection: Connection) -> None:
    """It is not taken for NULL."""
    with pytest.raises(KeyError, match="lit"):
        INSERT.run(connection, [{"name": "half a lamp"}])


def test_rows_are_put_in_the_order_of_the_columns(connection: Connection) -> None:
    """Without names; none at all is no statement, and a row that is too short is an error."""
    INSERT.put(connection, [("put-1", True), ("put-2", False)])
    INSERT.put(connection, [])
    rows = Statement(select(LAMPS.c.name, LAMPS.c.lit).where(LAMPS.c.name.startswith("put"))).rows(connection)
    assert rows == [("put-1", 1), ("put-2", 0)]
    with pytest.raises(sqlite3.ProgrammingError):
        INSERT.put(connection, [("half a lamp",)])
