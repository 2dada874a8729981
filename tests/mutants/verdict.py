"""Verdicts on implementations, from judgements of the suite. Pure."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from tests.mutants.suite import Failure, Judgement

_SHOWN = 160  # letters of a counterexample


class Outcome(StrEnum):
    """An outcome for a mutant."""

    KILLED = "killed"
    OTHER_LAW = "killed by another law"
    OTHER_REASON = "killed for another reason"
    WATCHDOG = "killed by the watchdog"
    NO_START = "does not start"
    SURVIVED = "SURVIVED"
    NO_VERDICT = "no verdict"
    NOT_TRIED = "not tried"


class Verdict(NamedTuple):
    """An outcome, with the laws that were broken, how many were kept, and what else there is to say."""

    outcome: Outcome
    laws: tuple[str, ...] = ()
    kept: int = 0
    said: str = ""

    def __str__(self) -> str:
        """The verdict in one line."""
        if self.outcome is Outcome.SURVIVED:
            return f"{self.outcome}: all {self.kept} laws kept"
        laws = f"{self.laws[0]}{f' and {len(self.laws) - 1} more' if self.laws[1:] else ''}" if self.laws else ""
        named = laws if self.outcome is Outcome.KILLED else f"{self.outcome}: {laws or self.said}"
        return f"{named}: {self.said}" if laws and self.said else named


def anyhow(judgement: Judgement) -> Verdict:
    """The verdict where any law will do."""
    laws = tuple(failure.law for failure in judgement.broken)
    return Verdict(Outcome.KILLED if laws else Outcome.SURVIVED, laws, judgement.kept)


def as_stated(judgement: Judgement, law: str, fails_as_stated: Callable[[str], bool]) -> Verdict:
    """The verdict where `law` has to fail in the stated way."""
    laws = tuple(failure.law for failure in judgement.broken)
    stated = next((failure for failure in judgement.broken if failure.law == law), None)
    if stated is None:
        return Verdict(Outcome.OTHER_LAW if laws else Outcome.SURVIVED, laws, judgement.kept)
    if any(map(fails_as_stated, stated.counterexamples)):
        return Verdict(Outcome.KILLED, (law, *(other for other in laws if other != law)), judgement.kept)
    return Verdict(Outcome.OTHER_REASON, laws, judgement.kept, _in_one_line(stated))


def _in_one_line(failure: Failure) -> str:
    return " ".join(" ".join(failure.counterexamples).split())[:_SHOWN]
