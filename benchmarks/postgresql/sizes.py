"""Orders/s on PostgreSQL with many stored orders and waiting events, beside few and none: S14."""

from functools import partial

from benchmarks import growth
from benchmarks.bench import Bench, in_turn
from benchmarks.figures import GUARANTEED
from benchmarks.pipeline import place
from benchmarks.plan import USUAL_IN_FLIGHT
from benchmarks.postgresql.costs import add_costs
from benchmarks.postgresql.seeding import append_events
from benchmarks.postgresql.systems import Wanted, sharing
from benchmarks.seeding import Stored
from benchmarks.systems import Measured
from ordersys.local.postgresql import Server

_STORED = f"{GUARANTEED}; end to end, 64 in flight"


def measure(bench: Bench, few: Measured, server: Server) -> None:
    """Adds the figures of S14. No other system may use the broker: it is away for a while."""
    stored = bench.plan.stored[-1]
    with sharing(bench, few, server, Wanted("many", Stored(orders=stored))) as many:
        for measured in (few, many):
            place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
        for number in bench.terminal.rounds(f"{stored:,} orders stored", bench.plan.rounds):
            in_turn(
                number,
                partial(_round, bench, many, "shared.stored.large", f"{stored:,} orders stored; {_STORED}"),
                partial(_round, bench, few, "shared.stored.empty", _STORED),
            )
        growth.waiting(bench, few, many, "shared", partial(append_events, many.system.database_url))


def _round(bench: Bench, measured: Measured, name: str, said: str) -> None:
    done = place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    bench.figures.add(name, done.recorded, "orders/s", said)
    add_costs(bench, name, done, said)
