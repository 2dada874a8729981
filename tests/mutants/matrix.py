"""The matrix of verdicts: each mutant, judged together with other services and alone, and the scores. Pure.

A mutant that only several processes can show is judged with several of each service, one that only a system with
identities can show with these, one that breaks no law by a test of ours, and all of them in neither of these ways.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tests.mutants.verdict import Outcome, Verdict

UNBROKEN = "(unbroken)"
TOGETHER, ALONE, REPLICATED, SECURED, TESTED = "together", "alone", "replicated", "secured", "tested"


class Row(NamedTuple):
    """A mutant, or the unbroken implementation; the service that is broken; a verdict for each way it was judged."""

    name: str
    service: str
    verdicts: Mapping[str, Verdict]

    @property
    def killed(self) -> bool:
        """True when it was noticed, for the stated reason, whichever way it was tried."""
        return self.tried and all(outcome in (Outcome.KILLED, Outcome.NOT_TRIED) for outcome in self._outcomes)

    @property
    def tried(self) -> bool:
        """True when it was judged at all."""
        return any(outcome is not Outcome.NOT_TRIED for outcome in self._outcomes)

    @property
    def kept(self) -> bool:
        """True when it keeps every law, as the unbroken implementation has to."""
        return all(outcome is Outcome.SURVIVED for outcome in self._outcomes)

    @property
    def _outcomes(self) -> Sequence[Outcome]:
        return [verdict.outcome for verdict in self.verdicts.values()]


def matrix(unbroken: Sequence[Row], rows: Sequence[Row]) -> str:
    """A line for each implementation and way it was judged, the unbroken ones first; the scores come last."""
    every = [*unbroken, *rows]
    names = max(len(_named(row)) for row in every)
    ways = max(len(way) for row in every for way in row.verdicts)
    lines = [line for row in every for line in _lines(row, names, ways)]
    return "\n".join([*lines, "", *scores(rows)])


def scores(rows: Sequence[Row]) -> Iterable[str]:
    """killed N of N, for each way, and how many were not tried; alone for each service, too."""
    for way in (TOGETHER, ALONE, REPLICATED, SECURED, TESTED):
        judged = [row for row in rows if way in row.verdicts]
        services = sorted({row.service for row in judged}) if way == ALONE else []
        for service in services:
            yield f"{way}, {service}: {_score([row for row in judged if row.service == service], way)}"
        if judged or way == TOGETHER:
            yield f"{way}: {_score(judged, way)}"


def all_killed(rows: Sequence[Row]) -> bool:
    """True when mutants were tried and each of those was noticed for the stated reason."""
    tried = [row for row in rows if row.tried]
    return bool(tried) and all(row.killed for row in tried)


def _score(rows: Sequence[Row], way: str) -> str:
    outcomes = [row.verdicts[way].outcome for row in rows]
    untried = outcomes.count(Outcome.NOT_TRIED)
    score = f"killed {outcomes.count(Outcome.KILLED)} of {len(rows) - untried}"
    return f"{score}, {untried} not tried" if untried else score


def _named(row: Row) -> str:
    return f"{UNBROKEN} {row.service}" if row.name == UNBROKEN and TOGETHER not in row.verdicts else row.name


def _lines(row: Row, names: int, ways: int) -> Iterable[str]:
    """A way below the other, and the laws one below the other, the name beside the first."""
    name = _named(row)
    for way, verdict in row.verdicts.items():
        first = way
        for cell in _cells(row, verdict):
            yield f"{name:<{names}}  {first:<{ways}}  {cell}"
            name = first = ""


def _cells(row: Row, verdict: Verdict) -> Sequence[str]:
    if row.name == UNBROKEN:
        return [f"all {verdict.kept} laws kept" if row.kept else f"BROKEN: {', '.join(verdict.laws) or verdict}"]
    return verdict.laws if verdict.outcome is Outcome.KILLED else [str(verdict)]
