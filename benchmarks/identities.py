"""The processor time of an order with identities beside one without: TLS, tokens, certificates of services; S16.

Two systems, on the same broker, to which both speak in clear. The client is the load generator: with identities it
reads its token for each call from its file, as the command line of the project does.
"""

from functools import partial

from benchmarks.bench import Bench, in_turn
from benchmarks.figures import GUARANTEED
from benchmarks.goals import SERVICES
from benchmarks.pipeline import place
from benchmarks.plan import USUAL_IN_FLIGHT
from benchmarks.postgresql.costs import add_costs
from benchmarks.seeding import Stored
from benchmarks.systems import Measured, beside, running

COUNT = 1  # sections below, for the progress bar
FIGURES = ("identities.",)
"""The beginnings of the names of its figures; those of processor time have `processor.` before them."""
_END_TO_END = f"{GUARANTEED}; end to end, 64 in flight"
_WITH = "TLS with a token, mTLS between services"


def measure(bench: Bench) -> None:
    """Adds all figures."""
    with (
        bench.terminal.section("with identities beside without (S16)"),
        running(bench, "without", Stored()) as without,
        beside(bench, without, "with", Stored(), secure=True) as having,
    ):
        _beside(bench, without, having)


def _beside(bench: Bench, without: Measured, having: Measured) -> None:
    for measured in (without, having):
        place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    for number in bench.terminal.rounds("with identities beside without", bench.plan.rounds):
        in_turn(
            number,
            partial(_round, bench, without, "identities.without", f"in clear; {_END_TO_END}"),
            partial(_round, bench, having, "identities.with", f"{_WITH}; {_END_TO_END}"),
        )


def _round(bench: Bench, measured: Measured, name: str, said: str) -> None:
    done = place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    bench.figures.add(name, done.recorded, "orders/s", said)
    add_costs(bench, name, done, said)
    both = sum(done.processor[process] for process in (*SERVICES, "client"))
    bench.figures.add(f"processor.{name}.services_and_client", 1e6 * both, "µs/order", said)
