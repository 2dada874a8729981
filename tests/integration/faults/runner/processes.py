"""Several stages at once, each in a process of its own: where one breaks, the others play on."""

import contextlib
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeAlias

from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.runner.round_report import Figures
from tests.integration.faults.runner.schedule import Part

_END_SECONDS = 90.0
_SPAWN = multiprocessing.get_context("spawn")  # no fork: threads run, and gRPC has started

Pipe: TypeAlias = "Connection[Any, Any]"


class Played(NamedTuple):
    """What came of a part: its figures, and what is to be said of it."""

    figures: Figures
    lines: list[str]

    @classmethod
    def badly(cls, text: str) -> "Played":
        """A part that could not be played."""
        figures = Figures()
        figures.note([Finding(Kind.UNRECOVERED, text)])
        return cls(figures, [f"    {text}"])


@contextmanager
def raised(count: int, perform: Callable[..., None], *given: Any) -> Iterator[dict[Pipe, BaseProcess]]:
    """So many processes that run `perform(pipe, index, *given)`; whatever happens, all have ended afterwards."""
    stages: dict[Pipe, BaseProcess] = {}
    try:
        for index in range(count):
            ours, theirs = _SPAWN.Pipe()
            stages[ours] = _SPAWN.Process(target=perform, args=(theirs, index, *given))
            stages[ours].start()
            theirs.close()
        yield stages
    finally:
        for process in stages.values():
            process.terminate()
        for process in stages.values():
            process.join(_END_SECONDS)
            process.kill()


class _Waiting:
    """The parts that wait: first those to be played alone.

    A stage goes on with those for as many brokers as it has, while there are any.
    """

    def __init__(self, parts: Iterable[Part], pipes: Sequence[Pipe]) -> None:
        self.parts = sorted(parts, key=lambda part: not part.alone)
        kinds = sorted({part.brokers for part in self.parts}, reverse=True) or [1]
        # The rarer kind begins on one stage, so that not all of them change in the end.
        self._has = {pipe: kinds[0] if pipe is pipes[-1] else kinds[-1] for pipe in pipes}

    def give(self, pipe: Pipe) -> Part | None:
        """Gives a stage its next part, None when there are no more."""
        part = self._next(pipe)
        if part is not None:
            self._has[pipe] = part.brokers
        with contextlib.suppress(OSError):  # whoever is gone does not answer either
            pipe.send(part)
        return part

    def _next(self, pipe: Pipe) -> Part | None:
        if not self.parts:
            return None
        fitting = (i for i, part in enumerate(self.parts) if part.alone or part.brokers == self._has[pipe])
        return self.parts.pop(next(fitting, 0))


def deal(parts: Iterable[Part], pipes: Sequence[Pipe]) -> Iterator[Played]:
    """Gives each stage a part, another one for each that is played, and None when there are no more."""
    waiting = _Waiting(parts, pipes)
    idle, under_way = deque(pipes), dict[Pipe, Part | None]()
    while idle or under_way:
        while idle and not any(part and part.alone for part in under_way.values()):
            free = idle.popleft()
            under_way[free] = waiting.give(free)
        for pipe in wait(list(under_way)):
            assert isinstance(pipe, Connection)
            part = under_way.pop(pipe)
            try:
                yield pipe.recv()
            except (EOFError, OSError):
                yield Played.badly(f"a stage broke at {part.name if part else 'its end'}")
                continue
            if part is not None:
                idle.appendleft(pipe)  # it is up already
    yield from (Played.badly(f"{part.name} was not played: no stage is left") for part in waiting.parts)


def leave(number: int, frame: object) -> None:
    """Ends this process on a signal, without a word, with all that it has started; once it does, no other stops it."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    sys.exit(128 + number)
