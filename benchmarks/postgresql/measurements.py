"""The measurements of services that share a PostgreSQL, in their order."""

import os
from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.plan import SPREAD_CATALOGUE
from benchmarks.postgresql import costs, distance, sizes, takeover
from benchmarks.postgresql.systems import Wanted, server, sharing
from benchmarks.seeding import Stored
from benchmarks.systems import Measured, running
from ordersys.local import unprivileged
from ordersys.local.postgresql import Server
from ordersys.local.postgresql_programs import NoPostgreSQL, provision

COUNT = 3  # sections below, for the progress bar
FIGURES = ("postgresql.", "replicas.", "stock.", "takeover.", "shared.", "distance.")
"""The beginnings of the names of its figures; those of processor time have `processor.` before them."""


def obstacle() -> str:
    """The reason why nothing of this can be measured here; empty where it can."""
    try:
        provision()
        import psycopg  # noqa: F401, PLC0415
    except NoPostgreSQL as error:
        return str(error)
    except ImportError:
        return "PostgreSQL's driver is not installed: pip install 'ordersys[postgresql]'"
    if os.geteuid() == 0 and not unprivileged.has_namespaces():
        return "PostgreSQL refuses to run as root, which can make no user namespace here"
    return ""


def measure(bench: Bench) -> str:
    """Adds all figures; the version of the server."""
    section = bench.terminal.section
    with running(bench, "files", Stored()) as files, server(bench) as shared:
        # One after the other, with as few other systems as can be: each uses some processor time.
        with section("PostgreSQL beside SQLite (S10)"), sharing(bench, files, shared, Wanted("one", Stored())) as alone:
            costs.beside_files(bench, files, alone)
        for service in files.system.services.values():
            service.stop()
        with section("replicas, hot stock, takeover (S11, S12, S13)"):
            _many(bench, files, shared)
        with section("a distant database; many orders on PostgreSQL (S15, S14)"):
            distance.measure(bench, files, shared)
            with sharing(bench, files, shared, Wanted("few", Stored(orders=bench.plan.stored[0]))) as few:
                sizes.measure(bench, few, shared)
        return shared.programs.version


def _many(bench: Bench, files: Measured, shared: Server) -> None:
    stored = Stored(products=SPREAD_CATALOGUE)
    with ExitStack() as stack:
        systems = {
            count: stack.enter_context(sharing(bench, files, shared, Wanted(f"of-{count}", stored, count)))
            for count in bench.plan.replicas
        }
        costs.replicas(bench, systems)
        most = bench.plan.replicas[-1]
        costs.hot_stock(bench, systems[most])
        takeover.measure(bench, systems[most])
