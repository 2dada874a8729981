"""`python -m benchmarks`: measures, shows, writes the results."""

import argparse
import time
from datetime import UTC, datetime

from benchmarks import placing, results, terminal
from benchmarks.bench import Bench, opened
from benchmarks.plan import FULL, QUICK
from benchmarks.seeding import Stored
from benchmarks.systems import running


def main() -> None:
    """Runs what the command line says."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    busy = results.load_average()
    with terminal.Terminal(5) as shown, opened(plan, shown) as bench:
        _questions(bench)
    found = results.document(plan, bench.figures, began, time.monotonic() - clock, {"load_before": busy})
    terminal.show({name: goal for name, goal in found.items() if name.startswith("S")}, bench.figures)
    shown.line(f"written: {results.write(found)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes instead of fifteen, with fewer rounds")
    return parser.parse_args()


def _questions(bench: Bench) -> None:
    with bench.terminal.question("a system starts"), running(bench, "system", Stored()) as measured:
        placing.measure(bench, measured)


if __name__ == "__main__":
    main()
