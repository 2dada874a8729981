"""`nox -s faults`: every fault once; with `-- --rounds=N --seed=S` that many rounds, of faults at random."""

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from ordersys.local import ports
from tests.integration.faults.checkers import leftovers
from tests.integration.faults.environment.setup import POSTGRESQL, SQLITE, Setup
from tests.integration.faults.runner.processes import JobResult, distribute, leave, worker_processes
from tests.integration.faults.runner.round_report import Figures
from tests.integration.faults.runner.runner import Run, run_jobs
from tests.integration.faults.runner.schedule import every_fault, schedule

_STAGES = 2


def main() -> None:
    """Exits 0 when nothing was found; the last line is one JSON object."""
    arguments = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    figures = Figures()
    with (
        tempfile.TemporaryDirectory(prefix="ordersys-faults-") as folder,
        closing(_run_jobs(arguments, Path(folder))) as jobs,
    ):
        for result in jobs:
            figures.merge(result.figures)
            for line in result.lines:
                print(line, file=sys.stderr, flush=True)
    print(f"slowest recovery {figures.slowest_recovery:.1f} s", file=sys.stderr)
    print(figures.line)
    sys.exit(1 if figures.failed else 0)


def _run_jobs(arguments: argparse.Namespace, folder: Path) -> Generator[JobResult]:
    """The result of every job, then of what is left when all environments have ended."""
    setup = Setup(arguments.database, arguments.replicas, arguments.secure)
    again = [f"--rounds={arguments.rounds}"] if arguments.rounds else []
    again += [f"--only='{words}'" for words in arguments.only]
    again += [f"--database={setup.database}", f"--replicas={setup.replicas}"] if setup.database != SQLITE else []
    again += ["--secure"] if setup.secure else []
    run = Run(arguments.seed, arguments.rounds is None, setup, Path(arguments.keep).absolute(), " ".join(again))
    jobs = schedule(arguments.only, arguments.rounds, arguments.seed, arguments.round, setup)
    needed = len(setup.ports)
    chosen = iter(ports.free(arguments.stages * needed))  # at once, so that no two environments choose the same
    dealt = [[next(chosen) for _ in range(needed)] for _ in range(arguments.stages)]
    with worker_processes(arguments.stages, run_jobs, run, folder, dealt) as workers:
        yield from distribute(jobs, list(workers))
    yield from map(JobResult.failed, leftovers.processes(folder))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s faults --", description=__doc__)
    parser.add_argument("--rounds", type=int, metavar="N", help="as many rounds, of faults at random")
    parser.add_argument("--seed", type=int, metavar="S", help="repeat a run")
    parser.add_argument("--round", type=int, metavar="K", help="of those, only this one, counted from 0")
    only = "only faults, and sabotages, whose name has these words in it; may be given more than once"
    parser.add_argument("--only", metavar="WORDS", default=[], action="append", help=only)
    parser.add_argument(
        "--database", choices=(SQLITE, POSTGRESQL), default=SQLITE, help="where the services keep their state (sqlite)"
    )
    parser.add_argument(
        "--replicas", type=int, default=1, metavar="N", help="processes of each service (1); more need postgresql"
    )
    parser.add_argument(
        "--secure", action="store_true", help="with identities: everything encrypted, every caller known"
    )
    parser.add_argument(
        "--stages", type=int, default=_STAGES, metavar="N", help=f"systems on which rounds run at once ({_STAGES})"
    )
    parser.add_argument("--keep", metavar="DIR", default="faults-found", help="where rounds that failed are kept")
    parser.add_argument("--list", action="store_true", help="name the faults there are")
    arguments = parser.parse_args()
    if arguments.replicas < 1 or (arguments.replicas > 1 and arguments.database == SQLITE):
        parser.error("--replicas must be at least 1, and more than one process needs --database=postgresql")
    if arguments.list:
        _list(arguments.rounds is None, Setup(arguments.database, arguments.replicas, arguments.secure))
        sys.exit(0)
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1, 10_000)
    return arguments


def _list(quick: bool, setup: Setup) -> None:
    """Prints the faults that are fit for a setup, then the others, each with the reason."""
    faults = every_fault(quick, setup)
    print(*(fault.name for fault in faults if not fault.unfit(setup)), sep="\n")
    for fault in faults:
        if reason := fault.unfit(setup):
            print(f"not here: {fault.name}: {reason}")


if __name__ == "__main__":
    main()
