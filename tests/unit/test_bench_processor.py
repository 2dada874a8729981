"""Processor time of processes in benchmarks, and the event loop that baselines share with the services."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from benchmarks import loops, processor
from benchmarks.observing import Unsound
from benchmarks.progress import progress
from benchmarks.results import built, interpreter

_WORK = """
import sys, threading, time
def work():
    end = time.thread_time() + 0.05
    while time.thread_time() < end: pass
for one in [threading.Thread(target=work) for _ in range(2)]: one.start(); one.join()
print(time.process_time(), flush=True)
sys.stdin.read()
"""


def test_the_processor_time_of_a_process_is_that_of_all_its_threads_the_ended_ones_too() -> None:
    """As the process itself counts it, read from outside; an ended process has none."""
    child = subprocess.Popen([sys.executable, "-c", _WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        own = float(child.stdout.readline())
        assert own >= 0.1
        assert processor.seconds(child.pid) >= own - 0.01  # the precision of a tick, where there is no finer clock
        assert processor.whole([child.pid, child.pid]) >= 2 * (own - 0.01)
    assert processor.seconds(child.pid) == 0


def test_waiting_uses_no_processor_time() -> None:
    """That is why it stays true where many wait for a core."""
    watch, before = processor.Stopwatch(), processor.seconds(os.getpid())
    time.sleep(0.2)
    seconds, worked = watch.read()
    assert seconds >= 0.2
    assert worked < seconds
    assert processor.seconds(os.getpid()) - before < 0.2


def test_between_two_readings_a_process_that_came_later_counts_from_its_start() -> None:
    """As a broker that was started again."""
    assert processor.since({"a": 1.0}, {"a": 1.5, "b": 0.25}) == {"a": 0.5, "b": 0.25}


def test_of_what_goes_on_only_the_part_that_was_seen_counts() -> None:
    """Ten are done before the first is seen: rate and processor time are those of the other ninety."""
    counts, used = iter([0, 10, 10, 50, 100]), iter([1.0, 10.0])
    measured = progress(lambda: next(counts), 100, lambda: {"service": next(used)})
    assert measured.processor == {"service": pytest.approx(0.1)}
    with pytest.raises(Unsound, match="measure with more"):
        progress(lambda: 100, 100, dict)


@pytest.mark.parametrize("name", loops.ALL)
def test_a_baseline_runs_on_the_loop_it_is_told(name: str) -> None:
    """The loop a figure names is the one it ran on."""
    modules: list[str] = []

    async def main() -> None:
        modules.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])

    loops.run(name, main())
    assert modules == [name]


def test_the_loop_of_the_services_is_one_that_is_installed() -> None:
    """A baseline can run on the same loop as the services, whichever they choose."""
    assert loops.of_services({}) in loops.ALL


def test_how_the_interpreter_was_built_stands_in_the_results() -> None:
    """Profile-guided or not makes a difference of a third."""
    assert interpreter()["build"].startswith("built with")
    assert interpreter()["loop_ms"] > 0
    assert built(profiled=True, linked=True) == "built with PGO and LTO"
    assert built(profiled=True, linked=False) == "built with PGO"
    assert "without PGO and LTO" in built(profiled=False, linked=False)
