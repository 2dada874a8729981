"""`nox -s mutants`: breaks the implementation in one place after the other; the contract suite has to notice.

The unbroken implementation is judged first, by the whole suite. A mutant is judged by the law that has to catch it,
which has to fail in the stated way, and by all of them where that law is kept. With --alone the broken service is
judged without the others, too: the law of a mutant needs none. A mutant of several processes is judged with so many of
each service on a PostgreSQL; where there is none it is not tried, which the matrix says. One of a system with
identities is judged with these; one that breaks no law of the contract by a test of ours, in a copy of the source.
Prints the matrix and the scores; exit status 0 means that every mutant that was tried was killed.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests import postgresql
from tests.contract.harness.law_index import node_id
from tests.mutants import implementation, tested
from tests.mutants.arguments import add_common, end_on_signals
from tests.mutants.catalogue import MUTANTS
from tests.mutants.court import Case, Court, brokers
from tests.mutants.implementation import Implementation
from tests.mutants.matrix import ALONE, REPLICATED, SECURED, TESTED, TOGETHER, UNBROKEN, Row, all_killed, matrix
from tests.mutants.mutant import SERVICES, Mutant
from tests.mutants.results import Results
from tests.mutants.suite import Failure, Judged, Judgement, Scope, judge
from tests.mutants.verdict import Outcome, Verdict, anyhow, as_stated

_ENOUGH = 1
_OF_FILES = {
    f"ordersys/runtime/storage/{name}.py" for name in ("backup", "database", "database_file", "engine", "marks")
}
"""Modules that a service loads for a SQLite file alone."""
_WHOLE = Implementation()
_ONE_PROCESS = Verdict(Outcome.NOT_TRIED, said="a service that is judged alone is one process, which breaks no law")
_NO_IDENTITY = Verdict(Outcome.NOT_TRIED, said="a service that is judged alone has no identity, and lets everybody in")
_NO_LAW = Verdict(Outcome.NOT_TRIED, said="it breaks no law: a test judges it, which starts what it needs")


def main() -> None:
    """Judges the unbroken implementation and the mutants; exits 0 when all of these were caught, and only these."""
    arguments = _arguments()
    if arguments.list:
        print(_listed())
        return
    end_on_signals()
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        brokers(arguments.jobs, arguments.amqp_url, Path(folder)) as urls,
    ):
        court = Court(urls, Results(arguments.results))
        if arguments.learn:
            _print_failures(court, arguments.mutants)
            return
        ways = [*([] if arguments.alone_only else [TOGETHER]), *([ALONE] if arguments.alone else [])]
        unbroken = _try_unbroken(court, arguments.mutants, ways)
        rows = _try_mutants(court, arguments.mutants, ways, arguments.full) if _all_kept(unbroken) else []
    text = matrix(unbroken, rows)
    print(text)
    if arguments.report:
        arguments.report.write_text(f"{text}\n", encoding="utf-8")
    sys.exit(0 if all_killed(rows) else 1)


def _try_unbroken(court: Court, mutants: Sequence[Mutant], ways: Sequence[str]) -> list[Row]:
    """The implementation as it is, by the whole suite; in each way in which mutants are judged."""
    lacking = postgresql.lacking()
    tested_here = [mutant for mutant in mutants if mutant.is_tested and not (lacking and mutant.shares_database)]
    tests = list(dict.fromkeys(mutant.caught_by for mutant in tested_here))
    lawful = [mutant for mutant in mutants if not mutant.is_tested]
    single = [mutant for mutant in lawful if not mutant.shares_database and not mutant.identities]
    services = [service for service in SERVICES if any(service in mutant.services for mutant in single)]
    judged: list[tuple[str, str, Judged]] = []
    if TOGETHER in ways and single:
        judged.append(("", TOGETHER, partial(implementation.together, _WHOLE)))
    if TOGETHER in ways and any(mutant.identities for mutant in mutants):
        judged.append(("with identities", SECURED, partial(implementation.secured, _WHOLE)))
    if TOGETHER in ways and not lacking:
        judged += [
            (f"{count} processes", REPLICATED, partial(implementation.replicated, _WHOLE, count))
            for count in sorted({mutant.replicas for mutant in lawful if mutant.shares_database})
        ]
    if ALONE in ways:
        judged += [(role, ALONE, _alone(_WHOLE, role)) for role in services]
    kept = frozenset({Outcome.SURVIVED})
    cases = [Case(f"{UNBROKEN} {role}", way, partial(_anyhow, judge), kept) for role, way, judge in judged]
    rows = [(role, way) for role, way, _ in judged]
    if TOGETHER in ways and tests:
        cases.append(Case(f"{UNBROKEN} {' '.join(tests)}", TESTED, lambda url: anyhow(tested.judge((), tests)), kept))
        rows.append((f"in {len(tests)} tests", TESTED))
    verdicts = court.try_all(cases)
    return [Row(UNBROKEN, role, {way: verdict}) for (role, way), verdict in zip(rows, verdicts, strict=True)]


def _try_mutants(court: Court, mutants: Sequence[Mutant], ways: Sequence[str], full: bool) -> list[Row]:
    judges = dict.fromkeys((TOGETHER, REPLICATED, SECURED), _judged_with_others)
    judges |= {ALONE: _judged_alone, TESTED: _judged_by_its_test}
    lacking = postgresql.lacking()
    untried = [_untried(mutant, ways, lacking) for mutant in mutants]
    tried = [[way for way in _ways(mutant, ways) if way not in of] for mutant, of in zip(mutants, untried, strict=True)]
    cases = [
        Case(mutant.key, way, partial(judges[way], mutant, full))
        for mutant, of in zip(mutants, tried, strict=True)
        for way in of
    ]
    verdicts = iter(court.try_all(cases))
    return [
        Row(mutant.name, mutant.service, {**{way: next(verdicts) for way in of}, **others})
        for mutant, of, others in zip(mutants, tried, untried, strict=True)
    ]


def _ways(mutant: Mutant, ways: Sequence[str]) -> list[str]:
    """The ways in which a mutant is judged where these are asked for."""
    if mutant.is_tested:
        together = TESTED
    else:
        together = SECURED if mutant.identities else REPLICATED if mutant.shares_database else TOGETHER
    return [together if way == TOGETHER else way for way in ways]


def _untried(mutant: Mutant, ways: Sequence[str], lacking: str) -> dict[str, Verdict]:
    """The verdicts on a mutant that can't be tried in some way: why not."""
    if mutant.is_tested:
        untried = {ALONE: _NO_LAW}
    elif mutant.identities:
        untried = {ALONE: _NO_IDENTITY}
    else:
        untried = {ALONE: _ONE_PROCESS} if mutant.shares_database else {}
    if lacking and mutant.shares_database:
        untried |= dict.fromkeys((REPLICATED, TESTED), Verdict(Outcome.NOT_TRIED, said=lacking))
    return {way: untried[way] for way in _ways(mutant, ways) if way in untried}


def _judged_with_others(mutant: Mutant, full: bool, url: str) -> Verdict:
    return _verdict(mutant, _with_others(mutant), url, full)


def _judged_alone(mutant: Mutant, full: bool, url: str) -> Verdict:
    """The verdict on the broken service without the others; of several broken ones the first that is not killed."""
    for role in mutant.services:
        verdict = _verdict(mutant, _alone(_broken(mutant), role), url, full)
        if verdict.outcome is not Outcome.KILLED:
            break
    return verdict


def _judged_by_its_test(mutant: Mutant, full: bool, url: str) -> Verdict:
    return as_stated(_tested(mutant), mutant.caught_by, mutant.fails_as_stated)


def _tested(mutant: Mutant) -> Judgement:
    return tested.judge(mutant.edits, [mutant.caught_by])


def _verdict(mutant: Mutant, judged: Judged, url: str, full: bool) -> Verdict:
    """By the law that was named; where that law is kept, or every other is wanted, by all of them."""
    if not full:
        verdict = _as_stated(mutant, judged, url, Scope(node_id(mutant.caught_by), _ENOUGH))
        if verdict.outcome is not Outcome.SURVIVED:
            return verdict
    return _as_stated(mutant, judged, url, Scope(enough=0 if full else _ENOUGH))


def _as_stated(mutant: Mutant, judged: Judged, url: str, scope: Scope) -> Verdict:
    """The verdict within `scope`. Where the law fails in other words, all its cases are tried: one has to have them."""

    def verdict(tried: Scope) -> Verdict:
        return as_stated(judge(judged, url, tried), mutant.caught_by, mutant.fails_as_stated)

    first = verdict(scope)
    if first.outcome is not Outcome.OTHER_REASON or not mutant.fails_with:
        return first
    every_case = verdict(Scope(node_id(mutant.caught_by)))
    return every_case if every_case.outcome is Outcome.KILLED else first


def _anyhow(judged: Judged, url: str) -> Verdict:
    return anyhow(judge(judged, url, Scope()))


def _alone(judged: Implementation, role: str) -> Judged:
    return partial(implementation.alone, judged, role)


def _broken(mutant: Mutant) -> Implementation:
    return Implementation(mutant.name, mutant.services)


def _with_others(mutant: Mutant) -> Judged:
    """All services, those of the mutant broken: one process of each, or as many as it says."""
    if mutant.identities:
        return partial(implementation.secured, _broken(mutant))
    if mutant.shares_database:
        return partial(implementation.replicated, _broken(mutant), mutant.replicas)
    return partial(implementation.together, _broken(mutant))


def _print_failures(court: Court, mutants: Sequence[Mutant]) -> None:
    """Prints how the law of each mutant fails, for whoever chooses the words of `fails with`."""

    def learnt(mutant: Mutant, url: str) -> Verdict:
        if mutant.is_tested:
            judgement = _tested(mutant)
        else:
            judgement = judge(_with_others(mutant), url, Scope(node_id(mutant.caught_by), _ENOUGH))
        shown = [line for failure in judgement.broken for line in _shown(mutant, failure)]
        print("\n".join([mutant.name, f"  {mutant.sentence}", *shown, ""]), flush=True)
        return anyhow(judgement)

    court.try_all([Case(mutant.key, "learn", partial(learnt, mutant)) for mutant in mutants])


def _shown(mutant: Mutant, failure: Failure) -> Iterator[str]:
    """One counterexample: where one has the stated words, that one."""
    stated = [example for example in failure.counterexamples if mutant.fails_as_stated(example)]
    yield f"  {failure.law} fails {'as stated' if stated else 'otherwise'}:"
    for example in (stated or failure.counterexamples)[:1]:
        yield from (f"    {line}" for line in example.splitlines())


def _all_kept(unbroken: Sequence[Row]) -> bool:
    return all(row.kept for row in unbroken)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s mutants --", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("mutants", nargs="*", type=_mutant, metavar="NAME", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="name the mutants, say what they break, and end")
    parser.add_argument("--full", action="store_true", help="find every law that catches a mutant, not the first ones")
    parser.add_argument("--alone", action="store_true", help="judge each broken service alone, too")
    parser.add_argument("--alone-only", action="store_true", help="judge each broken service alone, and not together")
    parser.add_argument(
        "--postgresql",
        action="store_true",
        help="keep the state of all in PostgreSQL; leaves out mistakes about files, and those of every service",
    )
    parser.add_argument(
        "--learn", action="store_true", help="print how the law of each fails, for writing `fails with`, and end"
    )
    add_common(parser)
    arguments = parser.parse_args()
    arguments.alone = arguments.alone or arguments.alone_only
    arguments.mutants = arguments.mutants or list(MUTANTS.values())
    if arguments.postgresql:
        arguments.mutants = [
            replace(mutant, on_postgresql=True) for mutant in arguments.mutants if _can_be_on_postgresql(mutant)
        ]
    return arguments


def _can_be_on_postgresql(mutant: Mutant) -> bool:
    """False for what a PostgreSQL knows nothing of, and for what whoever starts the services has to break as well."""
    if mutant.is_tested:
        return mutant.shares_database
    if mutant.in_files or mutant.services == SERVICES:
        return False
    return not any(edit.path in _OF_FILES for edit in mutant.edits)


def _mutant(name: str) -> Mutant:
    if name not in MUTANTS:
        raise argparse.ArgumentTypeError(f"{name!r} is no mutant; --list names them")
    return MUTANTS[name]


def _listed() -> str:
    return "\n".join(f"{mutant.name}: {mutant.sentence}" for mutant in MUTANTS.values())


if __name__ == "__main__":
    main()
