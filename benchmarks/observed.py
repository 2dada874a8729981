"""Orders with metrics and traces beside none: S17.

Three systems, on the same broker. One counts nothing; one serves metrics, which are read every few seconds, and records
one trace in a hundred; one serves metrics and records every trace. Spans go to a collector of another process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from urllib.request import urlopen

from benchmarks.bench import Bench, in_turn
from benchmarks.figures import GUARANTEED
from benchmarks.pipeline import place
from benchmarks.plan import USUAL_IN_FLIGHT
from benchmarks.postgresql.costs import add_costs
from benchmarks.seeding import Stored
from benchmarks.systems import Measured, beside, running

COUNT = 1  # sections below, for the progress bar
FIGURES = ("observed.",)
"""The beginnings of the names of its figures; those of processor time have `processor.` before them."""
_END_TO_END = f"{GUARANTEED}; end to end, 64 in flight"
_SAID = {
    "none": f"neither metrics nor traces; {_END_TO_END}",
    "usual": f"metrics, one trace in a hundred; {_END_TO_END}",
    "all": f"metrics, every trace; {_END_TO_END}",
}
_SCRAPE_SECONDS = 5.0


def measure(bench: Bench) -> None:
    """Adds all figures."""
    with bench.terminal.section("with metrics and traces beside none (S17)"):
        collector = bench.child("collector")
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": str(collector.ask(do="endpoint"))}
        usual = {**traced, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
        with (
            running(bench, "none", Stored()) as none,
            beside(bench, none, "usual", Stored(), observed=usual) as some,
            beside(bench, none, "all", Stored(), observed=traced) as every,
            _scraped(some),
            _scraped(every),
        ):
            _beside(bench, {"none": none, "usual": some, "all": every})


def _beside(bench: Bench, systems: dict[str, Measured]) -> None:
    for measured in systems.values():
        place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    for number in bench.terminal.rounds("with metrics and traces beside none", bench.plan.rounds):
        in_turn(number, *(partial(_round, bench, measured, name) for name, measured in systems.items()))


def _round(bench: Bench, measured: Measured, name: str) -> None:
    done = place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    bench.figures.add(f"observed.{name}", done.recorded, "orders/s", _SAID[name])
    add_costs(bench, f"observed.{name}", done, _SAID[name])


@contextmanager
def _scraped(measured: Measured) -> Iterator[None]:
    """Reads the metrics of each process now and then, as Prometheus would."""
    ended = Event()

    def scrape() -> None:
        while not ended.wait(_SCRAPE_SECONDS):
            for address in measured.system.metrics.values():
                with urlopen(f"http://{address}/metrics", timeout=_SCRAPE_SECONDS) as answer:
                    answer.read()

    thread = Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
