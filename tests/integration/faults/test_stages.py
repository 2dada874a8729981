"""Several stages at once: every part is played once, and what happens to one stage harms no other."""

import os
import signal
from collections.abc import Iterable

import psutil

from tests.integration.faults.programme import Part
from tests.integration.faults.report import Figures
from tests.integration.faults.stages import Pipe, Played, deal, raised

_PARTS = [Part(number, f"part {number}") for number in range(6)]


def plays(pipe: Pipe, index: int, dies_at: str) -> None:
    """Counts a round for each part; dies as soon as it is given one of that name."""
    while (part := pipe.recv()) is not None:
        if part.name == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        pipe.send(Played(Figures(rounds=1), [part.name]))
    pipe.send(Played(Figures(), ["the end"]))


def played(dies_at: Iterable[str]) -> list[str]:
    """What is said when the parts are played on two stages."""
    with raised(2, plays, *dies_at) as stages:
        said = [line.strip() for played in deal(iter(_PARTS), list(stages)) for line in played.lines]
        processes = list(stages.values())
    assert not any(psutil.pid_exists(process.pid or 0) for process in processes)
    return said


def test_each_part_is_played_once() -> None:
    """On whichever stage; each of them says goodbye."""
    assert sorted(played([""])) == sorted([*(part.name for part in _PARTS), "the end", "the end"])


def test_a_stage_that_breaks_loses_its_part_only() -> None:
    """The rest is played on the other one."""
    others = [part.name for part in _PARTS if part.number != 1]
    assert sorted(played(["part 1"])) == sorted([*others, "a stage broke at part 1", "the end"])


def test_what_no_stage_is_left_for_is_told() -> None:
    """It does not count as played."""
    figures = Figures()
    with raised(1, plays, "part 1") as stages:
        for one in deal(iter(_PARTS), list(stages)):
            figures.merge(one.figures)
    assert figures.failed
    assert (figures.rounds, figures.found.total()) == (1, 5)
