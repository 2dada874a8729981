"""The processor time of an order on PostgreSQL beside SQLite, and in several processes; hot stock: S10, S11, S12."""

from collections.abc import Mapping
from functools import partial

from benchmarks.bench import Bench, in_turn
from benchmarks.figures import GUARANTEED
from benchmarks.goals import SERVICES
from benchmarks.pipeline import Round, place
from benchmarks.plan import HOT_CATALOGUE, SMALL_CATALOGUE, SPREAD_CATALOGUE, USUAL_IN_FLIGHT
from benchmarks.systems import Measured

_END_TO_END = f"{GUARANTEED}; end to end"


def beside_files(bench: Bench, files: Measured, one: Measured) -> None:
    """Adds the figures of S10: the same system, its state in files and in a PostgreSQL."""
    for measured in (files, one):
        place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    for number in bench.terminal.rounds("PostgreSQL beside SQLite", bench.plan.rounds):
        in_turn(
            number,
            partial(_round, bench, files, "postgresql.files", f"SQLite; {_END_TO_END}, 64 in flight"),
            partial(_round, bench, one, "postgresql.one", f"PostgreSQL; {_END_TO_END}, 64 in flight"),
        )


def replicas(bench: Bench, systems: Mapping[int, Measured]) -> None:
    """Adds the figures of S11: one load for all processes together, and as much for each."""
    for count, measured in systems.items():
        place(bench, measured, USUAL_IN_FLIGHT * count, bench.plan.seconds)
    for number in bench.terminal.rounds("replicas", bench.plan.rounds):
        rounds = []
        for count, measured in systems.items():
            said = f"{count} processes of each service; {_END_TO_END}, %d in flight"
            rounds.append(partial(_round, bench, measured, f"replicas.{count}", said % USUAL_IN_FLIGHT))
            if count > 1:
                many = USUAL_IN_FLIGHT * count
                rounds.append(partial(_round, bench, measured, f"replicas.{count}.each", said % many, many))
        in_turn(number, *rounds)


def hot_stock(bench: Bench, measured: Measured) -> None:
    """Adds the figures of S12."""
    processes = f"{len([s for s in measured.system.services.values() if s.module == SERVICES[1]])} processes of each"
    for number in bench.terminal.rounds("hot stock", bench.plan.rounds):
        in_turn(
            number,
            *(
                partial(_round, bench, measured, name, f"{processes}; {catalogue:,} products; {_END_TO_END}", **manner)
                for name, catalogue in (("stock.hot", HOT_CATALOGUE), ("stock.spread", SPREAD_CATALOGUE))
                for manner in [{"catalogue": catalogue}]
            ),
        )


def _round(
    bench: Bench,
    measured: Measured,
    name: str,
    said: str,
    in_flight: int = USUAL_IN_FLIGHT,
    *,
    catalogue: int = SMALL_CATALOGUE,
) -> None:
    done = place(bench, measured, in_flight, bench.plan.seconds, catalogue=catalogue)
    bench.figures.add(name, done.recorded, "orders/s", said)
    add_costs(bench, name, done, said)


def add_costs(bench: Bench, name: str, done: Round, said: str) -> None:
    """Adds a round's processor time: by process, of all, and of the services alone."""
    bench.figures.add_processor(name, done.processor, "µs/order", said)
    services = sum(done.processor[service] for service in SERVICES)
    bench.figures.add(f"processor.{name}.services", 1e6 * services, "µs/order", said)
