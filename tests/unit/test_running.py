"""Work that is repeated beside a test: it goes on until the block ends, and none of its errors is lost."""

import time
from threading import Event, get_ident

import pytest

from tests.running import repeated


def test_work_is_repeated_by_each_thread_until_the_block_ends() -> None:
    """And no more from then on."""
    workers: list[int] = []

    def work() -> None:
        workers.append(get_ident())
        time.sleep(0.001)

    with repeated(work, threads=3):
        until = time.monotonic() + 10
        while min((workers.count(worker) for worker in {*workers}), default=0) < 2 or len({*workers}) < 3:
            assert time.monotonic() < until
            time.sleep(0.001)
    done = len(workers)
    time.sleep(0.02)
    assert len(workers) == done


class Failing:
    """Work that fails at once."""

    def __init__(self) -> None:
        self.has_failed = Event()

    def __call__(self) -> None:
        self.has_failed.set()
        raise ZeroDivisionError


def test_an_error_of_the_work_ends_the_test() -> None:
    """It is raised where the block ends."""
    work = Failing()
    with pytest.raises(ZeroDivisionError), repeated(work, threads=2):
        assert work.has_failed.wait(10)


def test_an_error_of_the_work_is_named_beside_that_of_the_block() -> None:
    """The block may have failed for it."""
    work = Failing()

    def fail() -> None:
        with repeated(work):
            assert work.has_failed.wait(10)
            raise LookupError

    with pytest.raises(ZeroDivisionError) as raised:
        fail()
    assert isinstance(raised.value.__context__, LookupError)


def test_an_error_of_the_block_ends_sound_work() -> None:
    """As any other end of the block, and is raised as it is."""
    with pytest.raises(LookupError), repeated(lambda: time.sleep(0.001)):
        raise LookupError
