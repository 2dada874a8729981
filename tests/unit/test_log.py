"""The log: one parsable line a record."""

import io
import json
import logging
import os
import select
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordersys.runtime.base.log import JsonLines, LineHandler, info_each

# Lone surrogates included: what is no UTF-8 comes in as such. Two halves that meet are one character in JSON.
TEXTS = st.text(st.characters(exclude_categories=[])).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
# What ends a line, or pretends to, somewhere; commands for terminals; what turns text around.
HOSTILE = '\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029\x00\x1b[2J\x9b31m\u202e\u2066\ufeff\udfff\ud800"\\{}%s'
# What every line has, and one with an exception.
OWN = ("time", "level", "service", "message", "error")


class Boom(Exception):
    """An exception whose text is whatever it was given."""


def lines_of(log: Callable[[logging.Logger], None]) -> list[str]:
    """The lines a handler writes of the records that `log` makes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("order-service"))
    logger = logging.Logger("tests")
    logger.addHandler(handler)
    log(logger)
    return stream.getvalue().splitlines()


def written(log: Callable[[logging.Logger], None]) -> dict[str, Any]:
    """The one line a record becomes, parsed."""
    (line,) = lines_of(log)
    assert line.isascii()
    assert line.isprintable()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def failing(text: str) -> Callable[[logging.Logger], None]:
    """Logs an exception that has another as its cause."""

    def fail() -> None:
        raise Boom(text) from Boom(text)

    def log(logger: logging.Logger) -> None:
        try:
            fail()
        except Boom:
            logger.exception(text)

    return log


@given(TEXTS)
def test_any_text_is_one_line_that_holds_it(text: str) -> None:
    """In ASCII, whatever the text; parsed, it is the text again."""
    assert written(lambda logger: logger.info(text))["message"] == text


@given(TEXTS)
def test_any_argument_is_one_line_that_holds_it(text: str) -> None:
    """The argument is written or shown, in one line."""
    assert written(lambda logger: logger.info("%s|%r", text, text))["message"] == f"{text}|{text!r}"


@given(st.dictionaries(TEXTS.filter(lambda name: name not in OWN), TEXTS | st.integers() | st.booleans() | st.none()))
def test_any_fields_stand_beside_the_message(fields: dict[str, object]) -> None:
    """Under their own names."""
    entry = written(lambda logger: logger.info("text", extra={"fields": fields}))
    assert {name: entry[name] for name in fields} == fields


@given(TEXTS)
def test_an_exception_is_on_the_same_line(text: str) -> None:
    """Traceback, cause and text."""
    entry = written(failing(text))
    assert entry["message"] == text
    assert "Traceback (most recent call last):\n" in entry["error"]
    assert f"\n{entry['error']}\n".count(f"\n{__name__}.Boom{': ' if text else ''}{text}\n") == 2


def test_hostile_text_is_one_line() -> None:
    """Line ends of all kinds, control sequences, marks that turn the reading direction, halves of characters."""
    assert written(lambda logger: logger.info(HOSTILE))["message"] == HOSTILE
    assert written(failing(HOSTILE))["message"] == HOSTILE


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_a_line_tells_level_service_and_time(level: str) -> None:
    """The time in UTC, to the millisecond; no `error` without an exception."""
    entry = written(lambda logger: logger.log(getattr(logging, level.upper()), "text"))
    assert list(entry) == ["time", "level", "service", "message"]
    assert (entry["level"], entry["service"], entry["message"]) == (level, "order-service", "text")
    time = datetime.fromisoformat(entry["time"])
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)


@pytest.mark.parametrize("name", OWN)
def test_no_field_takes_the_place_of_what_every_line_has(name: str) -> None:
    """It stands beside it, under its name with an underscore; two that meet get two."""
    fields = {name: "mine", f"{name}_": "mine, too"}
    entry = written(lambda logger: logger.info("text", extra={"fields": fields}))
    plain = written(lambda logger: logger.info("text"))
    assert entry.get(name) == plain.get(name) or name == "time"
    assert sorted(value for key, value in entry.items() if key.startswith(f"{name}_")) == ["mine", "mine, too"]


class Unshowable:
    """Raises when it is shown."""

    def __str__(self) -> str:
        raise Boom("unshowable")

    __repr__ = __str__


def endless() -> list[Any]:
    """A list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\xff\xfe", "b'\\xff\\xfe'"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1 << 20_000, hex(1 << 20_000)),
        ({b"key": {1}}, {"b'key'": "{1}"}),
        ((1, 2.5, None, True), [1, 2.5, None, True]),
        (Unshowable(), "<Unshowable>"),
    ],
    ids=["bytes", "nan", "infinite", "long", "set", "tuple", "unshowable"],
)
def test_a_field_that_json_has_no_form_for_is_its_text(value: object, shown: object) -> None:
    """Of whatever kind: the line is written, and any reader of JSON takes it."""
    entry = written(lambda logger: logger.info("text", extra={"fields": {"value": value}}))
    assert entry["value"] == shown


@pytest.mark.parametrize("fields", [endless(), {"deep": endless()}, {"a": Unshowable()}, b"none", 7, {7: 7, None: 7}])
def test_fields_of_any_kind_leave_the_message_readable(fields: object) -> None:
    """Those that are no fields at all, and those that have no end."""
    assert written(lambda logger: logger.info("text", extra={"fields": fields}))["message"] == "text"


def test_arguments_that_do_not_fit_leave_the_text_readable() -> None:
    """The event is told, whatever was wrong with telling it."""
    assert written(lambda logger: logger.info("%d of them", "many"))["message"].startswith("%d of them (")
    assert written(lambda logger: logger.info("%s", Unshowable()))["message"].startswith("%s (")
    assert written(lambda logger: logger.info(Unshowable()))["message"].startswith("<Unshowable>")


@settings(deadline=None)  # a busy machine takes its time over megabytes
@given(st.integers(20_000, 2_000_000), st.sampled_from("a\x00\u2028\U0001f600\ud800"))
def test_a_long_text_loses_its_middle(length: int, character: str) -> None:
    """A line has its bound, 256 KiB; beginning, end and length are told."""
    text = f"begin{character * length}end"

    def log(logger: logging.Logger) -> None:
        logger.info(text, extra={"fields": {str(n): text for n in range(40)}})

    (line,) = lines_of(log)
    assert len(line) <= 262_144
    message = json.loads(line)["message"]
    assert message.startswith("begin")
    assert message.endswith("end")
    assert f"{len(text) - 16_384} characters left out" in message


class Outputs:
    """A log and where it goes: a pipe for its lines, a pipe for its complaints."""

    def __init__(self, output: int) -> None:
        self._complaints, errors = os.pipe()
        self._open = [self._complaints, errors]
        self.handler = LineHandler("order-service", output, errors)
        self.logger = logging.Logger("tests")
        self.logger.addHandler(self.handler)

    def complaints(self) -> list[str]:
        """The messages on standard error up to now."""
        os.set_blocking(self._complaints, False)
        try:
            text = os.read(self._complaints, 1 << 20)
        except BlockingIOError:
            return []
        return [json.loads(line)["message"] for line in text.splitlines()]

    def close(self) -> None:
        """Closes the pipe for complaints."""
        for descriptor in self._open:
            os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """A pipe, its reading end first."""
    reading, writing = (FileIO(descriptor, mode) for descriptor, mode in zip(os.pipe(), "rw", strict=True))
    with reading, writing:
        yield reading, writing


def messages(text: bytes) -> list[str]:
    """Each line's, parsed."""
    return [json.loads(line)["message"] for line in text.splitlines()]


def test_a_reader_that_is_gone_is_told_of_once(pipe: tuple[FileIO, FileIO]) -> None:
    """One line on standard error; from then on lines are dropped, and nothing is raised."""
    reading, writing = pipe
    with closing(Outputs(writing.fileno())) as outputs:
        outputs.logger.info("first")
        assert messages(reading.read(1 << 16)) == ["first"]
        reading.close()
        for number in range(1000):
            outputs.logger.info("line %d", number)
        assert outputs.complaints() == ["nobody reads this log any more (Broken pipe): nothing more is logged"]


def test_a_closed_output_is_told_of_once(pipe: tuple[FileIO, FileIO]) -> None:
    """As if its reader was gone."""
    reading, writing = pipe
    with closing(Outputs(writing.fileno())) as outputs:
        writing.close()
        reading.close()
        for _ in range(10):
            outputs.logger.info("text")
        assert len(outputs.complaints()) == 1


def test_nobody_to_tell_of_a_reader_that_is_gone_is_no_trouble(pipe: tuple[FileIO, FileIO]) -> None:
    """Both were one terminal, or one pipe."""
    reading, writing = pipe
    handler = LineHandler("order-service", writing.fileno(), writing.fileno())
    reading.close()
    handler.handle(logging.LogRecord("tests", logging.INFO, __file__, 1, "text", None, None))
    handler.flush()


def test_a_reader_that_has_stopped_holds_nobody_up_and_gets_what_waits(
    pipe: tuple[FileIO, FileIO],
) -> None:
    """Nothing waits for it; lines wait in memory, 1 MiB of them, and it is told how many came too late."""
    reading, writing = pipe
    count, padding = 20_000, "x" * 200
    with closing(Outputs(writing.fileno())) as outputs:
        for number in range(count):
            outputs.logger.info("%d %s", number, padding)
        assert outputs.complaints() == ["whoever reads this log has stopped: lines are dropped until that goes on"]
        read = b""
        while not read.endswith(b'were dropped here"}\n'):
            read += reading.read(1 << 16)
        *kept, last = messages(read)
        assert kept == [f"{number} {padding}" for number in range(len(kept))]
        assert last == f"{count - len(kept)} lines of this log were dropped here"
        assert 1_048_576 < len(read) < 1_310_720
        outputs.logger.info("again")
        assert messages(reading.read(1 << 16)) == ["again"]


def test_lines_logged_together_are_written_when_all_are_there(pipe: tuple[FileIO, FileIO]) -> None:
    """The handler may end in any way; each line is whole in one write, so that nobody on the same pipe tears one."""
    reading, writing = pipe
    ready = select.poll()
    ready.register(reading, select.POLLIN)
    texts = [f"{number} {'x' * 300}" for number in range(50)]
    with closing(Outputs(writing.fileno())) as outputs:
        with suppress(Boom), outputs.handler.together():
            for text in texts:
                outputs.logger.info(text)
            assert not ready.poll(0)
            raise Boom
        writes: list[bytes] = []
        while ready.poll(0):
            writes.append(reading.read(select.PIPE_BUF))
        assert messages(b"".join(writes)) == texts


def test_lines_of_a_process_that_shares_its_output_stay_whole(pipe: tuple[FileIO, FileIO]) -> None:
    """Two logs on one pipe, many lines at a time."""
    reading, writing = pipe
    with closing(Outputs(writing.fileno())) as first, closing(Outputs(writing.fileno())) as other:
        with first.handler.together(), other.handler.together():
            for number in range(60):
                first.logger.info("one %d %s", number, "x" * 200)
                other.logger.info("other %d %s", number, "y" * 200)
        texts = messages(reading.read(1 << 16))
        assert [text.split()[:2] for text in texts if text.startswith("one")] == [["one", str(n)] for n in range(60)]
        assert len(texts) == 120


def test_many_lines_together_are_no_reason_to_drop_any(tmp_path: Path) -> None:
    """More than wait for a slow reader."""
    with (tmp_path / "log").open("wb") as output, closing(Outputs(output.fileno())) as outputs:
        with outputs.handler.together():
            for number in range(10_000):
                outputs.logger.info("%d %s", number, "x" * 200)
        assert len((tmp_path / "log").read_bytes().splitlines()) == 10_000
        assert outputs.complaints() == []


def test_a_disk_that_was_full_has_the_lines_once_there_is_room(tmp_path: Path) -> None:
    """Told of once; the lines of meanwhile are kept, and written with the next ones, or by themselves."""
    output = os.open("/dev/full", os.O_WRONLY)
    try:
        with closing(Outputs(output)) as outputs:
            for number in range(100):
                outputs.logger.info("%d", number)
            (complaint,) = outputs.complaints()
            assert "No space left on device" in complaint
            with (tmp_path / "log").open("wb") as room:
                os.dup2(room.fileno(), output)
            outputs.logger.info("100")
            assert messages((tmp_path / "log").read_bytes()) == [str(number) for number in range(101)]
            assert outputs.complaints() == []
    finally:
        os.close(output)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.dictionaries(TEXTS | st.sampled_from(OWN), TEXTS | st.integers() | st.booleans()))))
def test_entries_logged_at_once_are_the_lines_that_records_become(entries: list[tuple[str, dict[str, object]]]) -> None:
    """Each its own line, in order, whatever a text or a field holds; as of one moment."""
    lines = [json.loads(line) for line in JsonLines("order-service").each("info", 0.0015, entries)]
    for (message, fields), line in zip(entries, lines, strict=True):
        alone = written(lambda logger: logger.info("%s", message, extra={"fields": fields}))  # noqa: B023 - called here
        assert {**line, "time": alone["time"]} == alone
        assert line["time"] == "1970-01-01T00:00:00.001+00:00"


def test_entries_logged_at_once_reach_every_handler_that_wants_them(caplog: pytest.LogCaptureFixture) -> None:
    """As records, with the logger's name and the fields; none where the level is higher."""
    logger = logging.getLogger("tests.entries")
    with caplog.at_level(logging.INFO, "tests.entries"):
        info_each(logger, [("one %d", {"n": 1}), ("two", {"n": 2})])
    with caplog.at_level(logging.WARNING, "tests.entries"):
        info_each(logger, [("three", {})])
    entries = [
        (record.name, record.levelname, record.getMessage(), record.__dict__["fields"]) for record in caplog.records
    ]
    assert entries == [("tests.entries", "INFO", "one %d", {"n": 1}), ("tests.entries", "INFO", "two", {"n": 2})]
