"""The summary of a run: the mutations that survived, as diffs, and the score. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.mutants.machine.mutation import Mutation
from tests.mutants.verdict import Outcome, Verdict

_LEFT = (Outcome.SURVIVED, Outcome.NO_VERDICT)


def summary(tried: Sequence[tuple[Mutation, Verdict]], equivalent: int) -> str:
    """Those that survived; how many were killed in each module, and in all."""
    return "\n".join([*_survivors(tried), *_by_module(tried), "", *_score(tried, equivalent)])


def _survivors(tried: Sequence[tuple[Mutation, Verdict]]) -> Iterator[str]:
    for mutation, verdict in tried:
        if verdict.outcome in _LEFT:
            yield from (f"{mutation.id}  {mutation.where}: {verdict}", mutation.diff(), "")


def _by_module(tried: Sequence[tuple[Mutation, Verdict]]) -> Iterator[str]:
    modules = dict.fromkeys(mutation.module for mutation, _ in tried)
    width = max((len(module) for module in modules), default=0)
    for module in modules:
        here = [verdict for mutation, verdict in tried if mutation.module == module]
        yield f"{module:<{width}}  {_killed(here)} of {_started(here)}"


def _score(tried: Sequence[tuple[Mutation, Verdict]], equivalent: int) -> Iterator[str]:
    verdicts = [verdict for _, verdict in tried]
    counted = Counter(verdict.outcome for verdict in verdicts)
    yield f"killed {_killed(verdicts)} of {_started(verdicts)} that start and are not equivalent"
    for outcome in (Outcome.WATCHDOG, Outcome.NO_VERDICT, Outcome.NO_START):
        if counted[outcome]:
            yield f"{outcome}: {counted[outcome]}"
    if equivalent:
        yield f"equivalent, and not tried: {equivalent}"


def _killed(verdicts: Sequence[Verdict]) -> int:
    return sum(verdict.outcome in (Outcome.KILLED, Outcome.WATCHDOG) for verdict in verdicts)


def _started(verdicts: Sequence[Verdict]) -> int:
    return sum(verdict.outcome is not Outcome.NO_START for verdict in verdicts)
