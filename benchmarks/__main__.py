"""`python -m benchmarks`: measures, shows, writes the results."""

import argparse
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks import consuming, growth, notice, placing, profiling, relaying, results, terminal
from benchmarks.bench import Bench, opened
from benchmarks.plan import FULL, QUICK
from benchmarks.seeding import Stored
from benchmarks.systems import running

_QUESTIONS = 6


def main() -> None:
    """Runs what the command line says."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    more: dict[str, Any] = {"load_before": results.load_average()}
    with terminal.Terminal(_QUESTIONS) as shown, opened(plan, shown) as bench:
        more["profile"] = _on_one_system(bench)
        with bench.terminal.question("growth and memory (S6, S7)"):
            growth.measure(bench)
    found = results.document(plan, bench.figures, began, time.monotonic() - clock, more)
    terminal.show({name: goal for name, goal in found.items() if name.startswith("S")}, bench.figures)
    shown.line(f"written: {results.write(found)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes instead of fifteen, with fewer rounds")
    return parser.parse_args()


def _on_one_system(bench: Bench) -> dict[str, Any]:
    """Everything that needs no large databases; where the processor time goes."""
    question = bench.terminal.question
    with running(bench, "system", Stored()) as measured:
        with question("orders beside empty calls (S1, S2, S3)"):
            placing.measure(bench, measured)
        url = measured.system.amqp_url
        pika = bench.child("baselines.bare_pika", url)
        with question("from the reply to the record (S8)"):
            notice.measure(bench, measured, pika)
        with question("where the processor time goes"):
            profile = profiling.measure(bench, measured)
        with question("relay (S4)"):
            relaying.measure(bench, measured, pika)
        clients = {"pika": pika, "aio_pika": bench.child("baselines.bare_aio_pika", url)}
        with question("consumer (S5)"):
            consuming.measure(bench, measured, clients)
    return profile


if __name__ == "__main__":
    main()
