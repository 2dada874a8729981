"""Several stages at once: every part is played once, and what happens to one stage harms no other."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.integration.faults.runner.processes import Pipe, Played, deal, raised
from tests.integration.faults.runner.round_report import Figures
from tests.integration.faults.runner.schedule import Part

_PARTS = [Part(number, f"part {number}") for number in range(6)]
_MOMENT, _POLL = 0.3, 0.01


def plays(pipe: Pipe, index: int, dies_at: str) -> None:
    """Counts a round for each part; dies as soon as it is given one of that name."""
    while (part := pipe.recv()) is not None:
        if part.name == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        pipe.send(Played(Figures(rounds=1), [part.name]))
    pipe.send(Played(Figures(), ["the end"]))


def notes(pipe: Pipe, index: int, log: Path) -> None:
    """Notes down when parts begin and end; those that want to be alone give others time to begin meanwhile."""
    while (part := pipe.recv()) is not None:
        note(log, f"{part.name} begins")
        until = time.monotonic() + _MOMENT
        while part.alone and log.read_text().endswith(f"{part.name} begins\n") and time.monotonic() < until:
            time.sleep(_POLL)
        note(log, f"{part.name} ends")
        pipe.send(Played(Figures(rounds=1), []))
    pipe.send(Played(Figures(), []))


def note(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(line + "\n")


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


def test_nothing_else_is_played_beside_a_part_that_measures(tmp_path: Path) -> None:
    """They come first, one after the other; of the others as many at a time as there are stages."""
    log = tmp_path / "log"
    parts = [part._replace(alone=part.number in (2, 4)) for part in _PARTS]
    with raised(2, notes, log) as stages:
        assert sum(played.figures.rounds for played in deal(parts, list(stages))) == len(parts)
    lines = log.read_text().splitlines()
    assert lines[:4] == ["part 2 begins", "part 2 ends", "part 4 begins", "part 4 ends"]
    assert len(lines) == 2 * len(parts)


def test_what_no_stage_is_left_for_is_told() -> None:
    """It does not count as played."""
    figures = Figures()
    with raised(1, plays, "part 1") as stages:
        for one in deal(iter(_PARTS), list(stages)):
            figures.merge(one.figures)
    assert figures.failed
    assert (figures.rounds, figures.found.total()) == (1, 5)
