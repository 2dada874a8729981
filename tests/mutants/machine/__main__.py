"""`nox -s mutation`: breaks the services by machine, in thousands of places; the contract suite has to notice.

A mutant is judged by the suite on each service that has the module, alone, and then on all of them together, as
docs/implement.md has them judged. The first law that is broken ends the trial; the laws that noticed most until then
are tried first. Prints those that survive as diffs, and the score: killed of all that are not known to be equivalent
(equivalents.toml). Those that do not even start are counted apart. Exit status 0 means that none survived.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path

from tests.mutants import implementation
from tests.mutants.arguments import add_common, count, end_on_signals
from tests.mutants.catalogue import MUTANTS
from tests.mutants.court import Case, Court, brokers
from tests.mutants.implementation import Implementation
from tests.mutants.machine.equivalents import EQUIVALENTS
from tests.mutants.machine.modules import MODULES
from tests.mutants.machine.mutation import Mutation, mutations
from tests.mutants.machine.summary import summary
from tests.mutants.matrix import ALONE, TOGETHER
from tests.mutants.results import Results
from tests.mutants.suite import Judged, Scope, judge
from tests.mutants.verdict import Outcome, Verdict, anyhow

_ENOUGH = 1
_KEPT = frozenset({Outcome.SURVIVED})


def main() -> None:
    """Tries the mutations; exits 0 when none survived."""
    arguments = _arguments()
    chosen = _chosen(arguments)
    if arguments.list:
        print("\n".join(_listed(mutation) for mutation in chosen))
        return
    end_on_signals()
    tried = [mutation for mutation in chosen if mutation.id not in EQUIVALENTS]
    with (
        tempfile.TemporaryDirectory(prefix="mutation-") as folder,
        brokers(arguments.jobs, arguments.amqp_url, Path(folder)) as urls,
    ):
        trial = Trial(Court(urls, results := Results(arguments.results)), results)
        trial.try_whole(tried)
        verdicts = trial.try_all(tried, together=not arguments.alone_only)
    text = summary(list(zip(tried, verdicts, strict=True)), len(chosen) - len(tried))
    print(text)
    if arguments.report:
        arguments.report.write_text(f"{text}\n", encoding="utf-8")
    sys.exit(any(verdict.outcome in (Outcome.SURVIVED, Outcome.NO_VERDICT) for verdict in verdicts))


class Trial:
    """The trial of mutations: first alone, then those that survive together with the other services."""

    def __init__(self, court: Court, results: Results) -> None:
        self._court = court
        self._results = results

    def try_whole(self, chosen: Sequence[Mutation]) -> None:
        """Ends the process unless each service keeps every law as it is, alone: else a broken law proves nothing."""
        roles = dict.fromkeys(chain.from_iterable(MODULES[mutation.module] for mutation in chosen))
        cases = [Case(f"(unbroken) {role}", ALONE, partial(_judged, _alone(None, role)), _KEPT) for role in roles]
        for case, verdict in zip(cases, self._court.try_all(cases), strict=True):
            if verdict.outcome is not Outcome.SURVIVED:
                sys.exit(f"{case.key} {case.way}: {verdict}")

    def try_all(self, chosen: Sequence[Mutation], together: bool) -> list[Verdict]:
        """The verdict on each, in order."""
        cases = [Case(mutation.name, ALONE, partial(self._alone, mutation)) for mutation in chosen]
        verdicts = self._court.try_all(cases)
        if not together:
            return verdicts
        left = [place for place, verdict in enumerate(verdicts) if verdict.outcome is Outcome.SURVIVED]
        cases = [Case(chosen[place].name, TOGETHER, partial(self._together, chosen[place])) for place in left]
        for place, verdict in zip(left, self._court.try_all(cases), strict=True):
            verdicts[place] = verdict
        return verdicts

    def _alone(self, mutation: Mutation, url: str) -> Verdict:
        kept = 0
        for role in MODULES[mutation.module]:
            verdict = anyhow(judge(_alone(mutation.name, role), url, self._scope(mutation)))
            if verdict.outcome is not Outcome.SURVIVED:
                return verdict
            kept += verdict.kept
        return Verdict(Outcome.SURVIVED, kept=kept)

    def _together(self, mutation: Mutation, url: str) -> Verdict:
        broken = Implementation(mutation.name, tuple(MODULES[mutation.module]))
        return anyhow(judge(partial(implementation.together, broken), url, self._scope(mutation)))

    def _scope(self, mutation: Mutation) -> Scope:
        return Scope(enough=_ENOUGH, first=_order(mutation, self._results))


def _order(mutation: Mutation, results: Results) -> list[str]:
    """The laws that noticed something: most in this module, then most in its services, those of the catalogue too."""
    roles = MODULES[mutation.module]
    noticed: Counter[str] = Counter(mutant.caught_by for mutant in MUTANTS.values() if mutant.service in roles)
    here: Counter[str] = Counter()
    for name, _, verdict in results:
        module = name.partition(":")[0]
        if MODULES.get(module, ())[:1] == roles[:1]:
            noticed.update(verdict.laws[:1])
        if module == mutation.module:
            here.update(verdict.laws[:1])
    return sorted(noticed | here, key=lambda law: (-here[law], -noticed[law], law))


def _judged(judged: Judged, url: str) -> Verdict:
    return anyhow(judge(judged, url, Scope()))


def _alone(name: str | None, role: str) -> Judged:
    return partial(implementation.alone, Implementation(name, (role,)), role)


def _chosen(arguments: argparse.Namespace) -> list[Mutation]:
    """The mutations asked for; of a sample as many of each service, in an order that the seed alone determines."""
    modules = [module for module in MODULES if any(_is_in(module, only) for only in arguments.only or [""])]
    by_service: dict[str, list[Mutation]] = {}
    for module in modules:
        by_service.setdefault(MODULES[module][0], []).extend(mutations(module))
    if arguments.ids:
        return [mutation for mutation in chain(*by_service.values()) if mutation.id in arguments.ids]
    if not arguments.sample:
        return list(chain(*by_service.values()))
    return _sample(list(by_service.values()), arguments.sample, random.Random(arguments.seed))


def _sample(groups: Sequence[list[Mutation]], size: int, drawn: random.Random) -> list[Mutation]:
    shuffled = [drawn.sample(group, len(group)) for group in groups]
    mixed = (mutation for turn in zip_longest(*shuffled) for mutation in turn if mutation is not None)
    return [mutation for mutation, _ in zip(mixed, range(size), strict=False)]


def _is_in(module: str, only: str) -> bool:
    """True for a module, one of a package, and one that ends with these words."""
    return f"{module}.".startswith(f"{only}.") or module.endswith(f".{only}") or not only


def _listed(mutation: Mutation) -> str:
    equivalent = " (equivalent)" if mutation.id in EQUIVALENTS else ""
    return f"{mutation.id}{equivalent}  {mutation.where}  {mutation.change}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s mutation --", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="say what would be changed, and end")
    parser.add_argument("--only", action="append", metavar="MODULE", help="only in this module, or package")
    parser.add_argument("--sample", type=count, metavar="N", help="only N of them, as many of each service")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the sample (1)")
    parser.add_argument("--alone-only", action="store_true", help="do not try together those that survive alone")
    add_common(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
