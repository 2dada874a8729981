"""Output of the client: tables in which ids stay whole, JSON that is JSON, nothing that commands a terminal."""

import base64
import json
import os
import pty
from collections.abc import Sequence

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter
from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.console import output
from ordersys.grpc_client import as_json, layout, tables
from ordersys.grpc_client.layout import Column

ID = "01890000-0000-7000-8000-000000000001"
COLUMNS = (Column("order"), Column("text", folds=True), Column("units", right=True))
CELLS = st.text(st.characters(categories=("L", "N", "P")), max_size=30)
ROWS = st.lists(st.tuples(st.just(ID), CELLS, CELLS), max_size=6)


def lines(rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """The table."""
    return list(layout.table(COLUMNS, rows, width))


@given(ROWS)
def test_without_a_terminal_a_row_is_a_line(rows: list[tuple[str, str, str]]) -> None:
    """However long it is: each cell whole, each column where its header is."""
    header, *body = lines(rows)
    assert len(body) == len(rows)
    assert header.index("text") == (len(ID) if rows else len("order")) + 2
    for line, row in zip(body, rows, strict=True):
        assert line.startswith(f"{ID}  {row[1]}".rstrip())
        assert line.endswith(row[2])


@given(ROWS, st.integers(1, 200))
def test_an_id_is_never_broken(rows: list[tuple[str, str, str]], width: int) -> None:
    """The width of the terminal does not matter."""
    assert sum(line.startswith(ID) for line in lines(rows, width)) == len(rows)


TEXTS = st.lists(st.sampled_from(["order", "of", "anna", "was", "placed:", "€", ID, ID.upper()]), max_size=12).map(
    " ".join
)


@pytest.mark.parametrize("width", [60, 80, 120])
@given(rows=st.lists(st.tuples(st.just(ID), TEXTS, st.integers(0, 10**6).map(str)), max_size=6))
def test_a_table_fits_the_terminal_with_every_id_whole(rows: list[tuple[str, str, str]], width: int) -> None:
    """Also ids within a text: whatever is folded, a word is not."""
    shown = lines(rows, width)
    assert [line for line in shown if layout.cells(line) > width] == []
    words = "\n".join(shown).split()
    for wanted in (ID, ID.upper()):
        assert words.count(wanted) == sum(f"{row[0]} {row[1]}".split().count(wanted) for row in rows)


def test_on_a_narrow_terminal_free_text_is_folded_first() -> None:
    """The other columns stay."""
    text = "a name of an order that goes on and on"
    assert lines([(ID, text, "7")], 70) == [
        "order                                 text                       units",
        f"{ID}  a name of an order that        7",
        "                                      goes on and on",
    ]


def test_on_a_terminal_that_is_too_narrow_each_row_is_a_block() -> None:
    """The id first, on a line of its own."""
    assert lines([(ID, "short", "7")], 20) == [ID, "  text short", "  units 7"]
    assert lines([(ID, "short", "7")], 40) == [ID, "  text short  units 7"]


def test_wide_and_combining_letters_keep_the_columns() -> None:
    """A column is one of the terminal, not of the text."""
    assert layout.cells("桌子") == 4
    assert layout.cells("e\u0301") == 1
    printed = lines([(ID, "桌子", "7"), (ID, "desk", "7")])
    assert printed[1] == f"{ID}  桌子      7"
    assert printed[2] == f"{ID}  desk      7"


HOSTILE = ["\x1b[31m", "\x9b31m", "\r", "\n", "\x07", "\u202e", "\u2066", "\u200b", "\ud800", "\x00"]


@pytest.mark.parametrize("part", HOSTILE, ids=ascii)
def test_what_commands_a_terminal_is_spelled_out(part: str) -> None:
    """Controls, bidirectional overrides, invisible letters, halves of letters."""
    escaped = output.shown(f"a{part}b")
    assert escaped.isprintable()
    assert escaped[0] == "a" and escaped[-1] == "b"


@pytest.mark.parametrize("part", HOSTILE, ids=ascii)
def test_no_line_lets_it_through(capsys: pytest.CaptureFixture[str], part: str) -> None:
    """Neither a table, nor a sentence, nor an error."""
    tables.show_orders([Order(id=ID, customer_id=part.encode("utf-8", "replace").decode())])
    output.line(part)
    output.error(part)
    written = capsys.readouterr()
    for line in (written.out + written.err).split("\n"):
        assert line.isprintable()


@given(st.text())
def test_what_is_printable_is_shown_as_it_is(text: str) -> None:
    """Letters of any script."""
    assert output.shown(text).isprintable()
    assert not text.isprintable() or output.shown(text) == text


@pytest.mark.parametrize(("columns", "width"), [("120", 120), ("0", None), ("", 77), ("x", 77), ("-5", 77), ("٣", 77)])
def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str, width: int | None) -> None:
    """Or what COLUMNS says, where that is a number; unknown is as wide as it takes."""
    parent, child = pty.openpty()
    try:
        os.set_blocking(child, True)
        with open(child, "w", closefd=False) as terminal:
            monkeypatch.setattr("sys.stdout", terminal)
            monkeypatch.setattr("os.get_terminal_size", lambda number: os.terminal_size((77, 24)))
            monkeypatch.setenv("COLUMNS", columns)
            assert output.width() == width
    finally:
        os.close(parent)
        os.close(child)


def test_without_a_terminal_there_is_no_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """COLUMNS is about terminals."""
    monkeypatch.setenv("COLUMNS", "40")
    assert output.width() is None


def test_a_record_that_has_no_json_form_does_not_keep_back_the_others() -> None:
    """An event of a type this client does not know, a time no calendar has."""
    unknown = AnyMessage(type_url="type.googleapis.com/ordersys.api.order.v9.OrderArchived", value=b"\xff\x00")
    odd = Notification(sequence=7, event=unknown, record_time=Timestamp(seconds=2**60, nanos=-5), text="t")
    assert json.loads(json.dumps(as_json.to_dict(odd), allow_nan=False)) == {
        **as_json.to_dict(Notification(sequence=7, text="t")),
        "event": {"@type": unknown.type_url, "value": base64.b64encode(b"\xff\x00").decode()},
        "record_time": {"seconds": str(2**60), "nanos": -5},
    }
    known = Notification()
    known.event.Pack(OrderCreated(order=Order(id=ID)))
    assert as_json.to_dict(known)["event"]["order"]["id"] == ID


def test_odd_values_are_shown_to_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    """States, reasons and times this client does not know."""
    tables.show_dead_letters("x", [DeadLetter(id="d" * 32, reason=99, dead_letter_time=Timestamp(seconds=2**60))])  # type: ignore[arg-type]
    tables.show_orders([Order(id=ID, state=99)])  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert f"{2**60} s" in shown and "99; would be taken now" in shown


def test_nan_is_never_written() -> None:
    """JSON has none."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.document(float("nan"))
