"""What the process of one stage does: plays the parts it is given, on a system of its own, until there are no more."""

import contextlib
import signal
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from tests.integration.faults.checkers import leftovers
from tests.integration.faults.checkers.observations import Finding
from tests.integration.faults.checkers.observer import Gatherer
from tests.integration.faults.environment import event_taps, mounts
from tests.integration.faults.environment.environment import Stage
from tests.integration.faults.runner.processes import Pipe, Played, leave
from tests.integration.faults.runner.round import Play
from tests.integration.faults.runner.round_report import Figures, keep, summary
from tests.integration.faults.runner.schedule import Part, every_fault
from tests.integration.faults.selftest.harness_selftest import try_sabotage
from tests.integration.faults.workload.calls import Calls

_QUICK_SECONDS, _LONG_SECONDS = 1.5, 4.0
_TOLD = 20


class Run(NamedTuple):
    """What all stages are told: the seed, whether time is short, where what failed is kept, how it is repeated."""

    seed: int
    quick: bool
    keep: Path
    again: str


def perform(pipe: Pipe, index: int, run: Run, folder: Path, ports: Sequence[Sequence[int]]) -> None:
    """Plays what comes through the pipe; says at the end what was left. Whoever gave the parts may be gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the whole group: they who started this one end it
    signal.signal(signal.SIGTERM, leave)
    may_mount = mounts.have_own()
    performance = Performance(run, folder / f"stage-{index}", ports[index], may_mount)
    late: list[Finding] = []
    try:
        with contextlib.suppress(EOFError, BrokenPipeError):
            while (part := pipe.recv()) is not None:
                pipe.send(performance.play(part))
            late = performance.changed()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        last = performance.end(late)
    with contextlib.suppress(OSError):
        pipe.send(last)


class Performance:
    """Plays parts on a stage, on another one after it broke."""

    def __init__(self, run: Run, folder: Path, ports: Sequence[int], may_mount: bool) -> None:
        self._run = run
        self._folder = folder
        self._ports = ports
        self._may_mount = may_mount
        self._faults = {fault.name: fault for fault in every_fault(run.quick)}
        self._stack = ExitStack()
        self._play: Play | None = None
        self._opened = 0
        self._found: list[Finding] = []
        """On stages that were left for one with another number of brokers."""

    def play(self, part: Part) -> Played:
        """What came of it. A stage on which it can't be played to its end is closed."""
        try:
            play = self._on_stage(part.brokers)
            return self._trial(play, part) if part.is_trial else self._round(play, part)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts are played
            traceback.print_exc()
            self._close()
            return Played.badly(f"{part.name} could not be played: {str(error).partition(chr(10))[0]}")

    def changed(self) -> list[Finding]:
        """What became of its rounds since they were over."""
        return [] if self._play is None else self._play.gatherer.changed_since(self._name(""))

    def end(self, late: Sequence[Finding]) -> Played:
        """Closes the stage; what was found late, and what it has left behind."""
        found = [*self._found, *self._leave(late)]
        figures = Figures()
        figures.note(found)
        return Played(figures, _told(found))

    def _leave(self, late: Sequence[Finding]) -> list[Finding]:
        stage = None if self._play is None else self._play.stage
        self._close()
        return [*late, *(leftovers.find(stage) if stage is not None else ())]

    def _round(self, play: Play, part: Part) -> Played:
        run = self._run
        seconds = _QUICK_SECONDS if run.quick else _LONG_SECONDS
        played = play.round(self._name(part.number), self._faults[part.name], seconds, run.quick)
        figures = Figures()
        figures.add(played)
        if played.findings:
            repeat = f"nox -s faults -- --seed={run.seed} --round={part.number} {run.again}"
            keep(played, play.stage.folder, run.keep / played.name, repeat)
        return Played(figures, [summary(played), *_told(played.findings)])

    def _trial(self, play: Play, part: Part) -> Played:
        found = try_sabotage(play, part.name)
        verdict = f"found out: {found[0].text}" if found else "WAS NOT FOUND OUT"
        return Played(Figures(trials={part.name: bool(found)}), [f"{'sabotage':<10} {part.name:<45} {verdict}"])

    def _name(self, number: object) -> str:
        return f"s{self._run.seed}r{number}"

    def _on_stage(self, brokers: int) -> Play:
        """The stage there is, when it has that many brokers, else another one."""
        if self._play is not None and len(self._play.stage.brokers) != brokers:
            self._found += self._leave(self.changed())
        if self._play is None:
            self._opened += 1
            with ExitStack() as opened:
                folder = self._folder / str(self._opened)
                stage = opened.enter_context(Stage(folder, self._ports, self._may_mount, brokers))
                event_taps.prick_up(stage.amqp_url)
                calls = opened.enter_context(closing(Calls(stage.addresses)))
                self._play = Play(stage, calls, Gatherer(calls, stage.amqp_url, stage.databases))
                self._stack = opened.pop_all()
        return self._play

    def _close(self) -> None:
        self._play = None
        self._stack.close()


def _told(findings: Sequence[Finding]) -> list[str]:
    return [f"    {finding.kind.value}: {finding.text}" for finding in findings[:_TOLD]]
