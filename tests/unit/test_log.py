"""The log: one parsable line a record."""

import io
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.runtime.process import JsonLines

# Lone surrogates included: what is no UTF-8 comes in as such. Two halves that meet are one character in JSON.
TEXTS = st.text(st.characters(exclude_categories=[])).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
# What ends a line, or pretends to, somewhere; commands for terminals; what turns text around.
HOSTILE = '\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029\x00\x1b[2J\x9b31m\u202e\u2066\ufeff\udfff\ud800"\\{}%s'


class Boom(Exception):
    """An exception whose text is whatever it was given."""


def written(log: Callable[[logging.Logger], None]) -> dict[str, Any]:
    """The one line a record becomes on its way through a handler, parsed."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("order-service"))
    logger = logging.Logger("tests")
    logger.addHandler(handler)
    log(logger)
    (line,) = stream.getvalue().splitlines()
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
    """Whether it is written or shown."""
    assert written(lambda logger: logger.info("%s|%r", text, text))["message"] == f"{text}|{text!r}"


@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.none()))
def test_any_fields_stand_beside_the_message(fields: dict[str, object]) -> None:
    """Under their own names."""
    found = written(lambda logger: logger.info("text", extra={"fields": fields}))
    assert {name: found[name] for name in fields} == fields


@given(TEXTS)
def test_an_exception_is_on_the_same_line(text: str) -> None:
    """Traceback, cause and text."""
    found = written(failing(text))
    assert found["message"] == text
    assert "Traceback (most recent call last):\n" in found["error"]
    assert f"\n{found['error']}\n".count(f"\n{__name__}.Boom{': ' if text else ''}{text}\n") == 2


def test_hostile_text_is_one_line() -> None:
    """Line ends of all kinds, control sequences, marks that turn the reading direction, halves of characters."""
    assert written(lambda logger: logger.info(HOSTILE))["message"] == HOSTILE
    assert written(failing(HOSTILE))["message"] == HOSTILE


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_a_line_tells_level_service_and_time(level: str) -> None:
    """The time in UTC, to the millisecond; no `error` without an exception."""
    found = written(lambda logger: logger.log(getattr(logging, level.upper()), "text"))
    assert list(found) == ["time", "level", "service", "message"]
    assert (found["level"], found["service"], found["message"]) == (level, "order-service", "text")
    time = datetime.fromisoformat(found["time"])
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
