"""The measurements of a run, in their order, and the system that each of them uses."""

from benchmarks import consuming, growth, identities, micro, notice, observed, placing, profiling, relaying
from benchmarks.bench import Bench
from benchmarks.children import Child
from benchmarks.options import Options
from benchmarks.peers import measurements as peers
from benchmarks.postgresql import measurements as postgresql
from benchmarks.samples import TO
from benchmarks.seeding import Stored
from benchmarks.systems import Measured, running
from ordersys.contract.access import service_name

Profile = dict[str, dict[str, float]]
_OURS = 7  # measurements below, without those of peers
_SECURED = 3  # of them with identities
_CONSUMERS = {"aio_pika": "baselines.bare_aio_pika"}


def count(wanted: Options) -> int:
    """The number of measurements, for the progress bar."""
    if wanted.secure:
        return _SECURED
    if wanted.only_secured:
        return identities.COUNT
    if wanted.only_observed:
        return observed.COUNT
    if wanted.only_postgresql:
        return postgresql.COUNT
    return _OURS + wanted.peers + identities.COUNT + observed.COUNT + postgresql.COUNT


def make_all(bench: Bench, with_peers: bool) -> Profile:
    """Makes all measurements but S10 to S17; figures are added to the bench, the profile is returned."""
    with running(bench, "system", Stored()) as measured:
        profile = _on_one_system(bench, measured, with_peers)
    with bench.terminal.section("calls and parts, by pytest-benchmark"):
        micro.measure(bench)
    _growth(bench)
    return profile


def make_secured(bench: Bench) -> None:
    """Makes those that say something of a system with identities, which AMQP alone has nothing to do with."""
    user = service_name(TO.publisher)
    with running(bench, "system", Stored()) as measured:
        pika = bench.child("baselines.bare_pika", measured.url_of(user), user)
        _orders(bench, measured, pika)
    _growth(bench)


def _growth(bench: Bench) -> None:
    with bench.terminal.section("growth and memory (S6, S7)"):
        growth.measure(bench)


def _orders(bench: Bench, measured: Measured, pika: Child) -> None:
    with bench.terminal.section("orders beside empty calls (S1, S2, S3)"):
        placing.measure(bench, measured)
    with bench.terminal.section("from the reply to the record (S8)"):
        notice.measure(bench, measured, pika)


def _on_one_system(bench: Bench, measured: Measured, with_peers: bool) -> Profile:
    """The measurements that need no large databases. That of the relay leaves the services stopped."""
    section, url = bench.terminal.section, measured.system.amqp_url
    pika = bench.child("baselines.bare_pika", url)
    _orders(bench, measured, pika)
    with section("where the processor time goes"):
        profile = profiling.measure(bench, measured)
    if with_peers:
        with section("what people would use instead: a system"):
            peers.systems(bench, measured)
    # Each gets the event loop of the services as an argument; a client with a loop of its own ignores it.
    others = {name: bench.child(module, url, bench.loop) for name, module in peers.PUBLISHERS.items() if with_peers}
    with section("relay (S4)"):
        relaying.measure(bench, measured, pika, others)
    modules = {**_CONSUMERS, **(peers.CONSUMERS if with_peers else {})}
    clients = {name: bench.child(module, url, bench.loop) for name, module in modules.items()}
    with section("consumer (S5)"):
        consuming.measure(bench, measured, {"pika": pika, **clients})
    return profile
