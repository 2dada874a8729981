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
from tests.integration.faults.environment.environment import PORTS
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
    again = f"--rounds={arguments.rounds} " if arguments.rounds else ""
    again += f"--only='{arguments.only}'" if arguments.only else ""
    run = Run(arguments.seed, arguments.rounds is None, Path(arguments.keep).absolute(), again)
    jobs = schedule(arguments.only, arguments.rounds, arguments.seed, arguments.round)
    chosen = iter(ports.free(arguments.stages * len(PORTS)))  # at once, so that no two environments choose the same
    dealt = [[next(chosen) for _ in PORTS] for _ in range(arguments.stages)]
    with worker_processes(arguments.stages, run_jobs, run, folder, dealt) as workers:
        yield from distribute(jobs, list(workers))
    yield from map(JobResult.failed, leftovers.processes(folder))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s faults --", description=__doc__)
    parser.add_argument("--rounds", type=int, metavar="N", help="as many rounds, of faults at random")
    parser.add_argument("--seed", type=int, metavar="S", help="repeat a run")
    parser.add_argument("--round", type=int, metavar="K", help="of those, only this one, counted from 0")
    parser.add_argument("--only", metavar="WORDS", default="", help="only faults whose name has these words in it")
    parser.add_argument(
        "--stages", type=int, default=_STAGES, metavar="N", help=f"systems on which rounds run at once ({_STAGES})"
    )
    parser.add_argument("--keep", metavar="DIR", default="faults-found", help="where rounds that failed are kept")
    parser.add_argument("--list", action="store_true", help="name the faults there are")
    arguments = parser.parse_args()
    if arguments.list:
        print(*(fault.name for fault in every_fault(arguments.rounds is None)), sep="\n")
        sys.exit(0)
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1, 10_000)
    return arguments


if __name__ == "__main__":
    main()
