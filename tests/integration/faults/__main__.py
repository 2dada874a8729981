"""`nox -s faults`: every fault once; with `-- --rounds=N --seed=S` that many rounds, of faults at random."""

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ordersys.local.rabbitmq import NotStarted
from ordersys.local.service import NotHealthy
from tests.integration.faults import ears, leftovers
from tests.integration.faults.administration import administration_faults
from tests.integration.faults.brokers import cluster_faults
from tests.integration.faults.calls import Calls
from tests.integration.faults.crash_points import crash_faults
from tests.integration.faults.facts import Finding, Kind
from tests.integration.faults.fault import Fault, process_faults
from tests.integration.faults.gathering import Gatherer
from tests.integration.faults.report import Figures, keep, summary
from tests.integration.faults.round import Play
from tests.integration.faults.stage import Stage
from tests.integration.faults.troubles import broker_faults, network_faults, other_faults

_QUICK_SECONDS, _LONG_SECONDS = 1.5, 4.0

Rounds = Mapping[int, Fault]
"""What is played, by number; those on the same stage one after the other."""


def every_fault(quick: bool) -> list[Fault]:
    """All there are, in the order in which they are told of."""
    others = [*network_faults(), *broker_faults(), *administration_faults(), *other_faults()]
    return [*process_faults(), *others, *crash_faults(quick), *cluster_faults(quick)]


def main() -> None:
    """Exits 0 when nothing was found; the last line is one JSON object."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    figures = Figures()
    rounds = _chosen(arguments)
    for brokers in sorted({fault.brokers for fault in rounds.values()}):
        _play_on(brokers, {k: fault for k, fault in rounds.items() if fault.brokers == brokers}, arguments, figures)
    print(f"slowest recovery {figures.slowest_recovery:.1f} s", file=sys.stderr)
    print(figures.line)
    sys.exit(1 if figures.found else 0)


def _play_on(brokers: int, rounds: Rounds, arguments: argparse.Namespace, figures: Figures) -> None:
    """Plays rounds on a stage with that many brokers."""
    with tempfile.TemporaryDirectory(prefix="ordersys-faults-") as folder:
        stage = Stage(Path(folder) / "system", brokers)
        try:
            with stage:
                _play(stage, rounds, arguments, figures)
        except (NotHealthy, NotStarted, TimeoutError) as error:
            figures.note([Finding(Kind.UNRECOVERED, str(error))])
            print(error, file=sys.stderr)
        left = leftovers.find(stage)
    _tell_all(left)
    figures.note(left)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s faults --", description=__doc__)
    parser.add_argument("--rounds", type=int, metavar="N", help="as many rounds, of faults at random")
    parser.add_argument("--seed", type=int, metavar="S", help="repeat a run")
    parser.add_argument("--round", type=int, metavar="K", help="of those, only this one, counted from 0")
    parser.add_argument("--only", metavar="WORDS", help="only faults whose name has these words in it")
    parser.add_argument("--keep", metavar="DIR", default="faults-found", help="where rounds that failed are kept")
    parser.add_argument("--list", action="store_true", help="name the faults there are")
    arguments = parser.parse_args()
    if arguments.list:
        print(*(fault.name for fault in every_fault(arguments.rounds is None)), sep="\n")
        sys.exit(0)
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1, 10_000)
    return arguments


def _play(stage: Stage, rounds: Rounds, arguments: argparse.Namespace, figures: Figures) -> None:
    ears.prick_up(stage.amqp_url)
    with closing(Calls(stage.addresses)) as calls:
        play = Play(stage, calls, Gatherer(calls, stage.amqp_url, stage.databases))
        quick = arguments.rounds is None
        for number, fault in rounds.items():
            played = play.round(f"s{arguments.seed}r{number}", fault, _QUICK_SECONDS if quick else _LONG_SECONDS, quick)
            figures.add(played)
            print(summary(played), file=sys.stderr, flush=True)
            if played.findings:
                repeat = f"nox -s faults -- --seed={arguments.seed} --round={number} {_how_many(arguments)}"
                keep(played, stage.folder / "log", Path(arguments.keep) / played.name, repeat)
                _tell_all(played.findings)
        late = play.gatherer.changed_since(f"s{arguments.seed}r")
        _tell_all(late)
        figures.note(late)


def _chosen(arguments: argparse.Namespace) -> Rounds:
    """The faults to play, by the numbers of their rounds; the same for the same arguments."""
    there = [fault for fault in every_fault(arguments.rounds is None) if (arguments.only or "") in fault.name]
    if arguments.rounds is not None:
        dice = random.Random(arguments.seed)
        there = [dice.choice(there) for _ in range(arguments.rounds)]
    return {number: fault for number, fault in enumerate(there) if arguments.round in (None, number)}


def _how_many(arguments: argparse.Namespace) -> str:
    rounds = f"--rounds={arguments.rounds}" if arguments.rounds else ""
    return f"{rounds} --only='{arguments.only}'" if arguments.only else rounds


def _tell_all(findings: list[Finding]) -> None:
    for finding in findings[:20]:
        print(f"    {finding.kind.value}: {finding.text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
