"""Trouble with a database, as the log tells it."""

import logging

import pytest

from ordersys.runtime.storage import trouble_log
from ordersys.runtime.storage.trouble_log import TroubleLog


class _Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(trouble_log, "time", made)
    return made


def test_trouble_that_comes_and_goes_is_said_once(clock: _Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A server without a connection to spare: some operations are done, others fail in two ways, all the time."""
    caplog.set_level(logging.INFO)
    log = TroubleLog("d")
    for _ in range(100):
        log.met("can't be read: too many")
        log.done()
        log.met("can't be written: too many")
        log.done()
        clock.now += 0.1
    assert caplog.messages == ["database d can't be read: too many", "database d can't be written: too many"]


def test_lasting_trouble_is_said_again(clock: _Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = TroubleLog("d")
    for _ in range(61):
        log.met("is gone")
        clock.now += 1
    assert len(caplog.messages) == 3


def test_its_end_is_said_once(clock: _Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = TroubleLog("d")
    log.done()
    log.met("is gone")
    clock.now += 4
    log.done()
    log.done()
    assert caplog.messages == ["database d is gone", "database d can be used again"]


def test_texts_without_end_take_no_memory_without_end(clock: _Clock) -> None:
    log = TroubleLog("d")
    for number in range(1000):
        log.met(f"refused {number}")
    assert len(log._said) <= 16
