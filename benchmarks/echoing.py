"""The baselines of S1 and S2: servers that do nothing, or nothing but commit."""

from dataclasses import dataclass
from functools import partial

from benchmarks import loops, processor
from benchmarks.baselines.echo import FAR, NEAR
from benchmarks.bench import Bench, Door
from benchmarks.children import Child
from benchmarks.pipeline import UNLIMITED
from benchmarks.plan import LOW_RATE
from benchmarks.summary import curve_in_milliseconds, percentile
from benchmarks.systems import Measured
from ordersys.local import ports

OTHER = ".other_loop"
"""The suffix of figures of a baseline that runs on another event loop than the services."""
_EMPTY = "empty message, no validation, nothing kept"
_COMMITTING = "empty message, no validation; each server commits one row durably before it goes on"
_SECURED = "; TLS, the token looked up and not verified, mTLS between two hops"


@dataclass(frozen=True)
class Echo:
    """An empty server. The figures end with `suffix`."""

    bench: Bench
    suffix: str
    said: str
    door: Door
    server: Child

    def calls(self, in_flight: int) -> None:
        """Makes a round of calls in a closed loop; its processor time is that of client and server."""
        bench, name = self.bench, f"echo.{in_flight}"
        meter = partial(_used, self.server)
        before = meter()
        answer = bench.calls(self.door, "echo", in_flight=in_flight, seconds=bench.plan.seconds, most=UNLIMITED)
        used = {**processor.since(before, meter()), "client": answer["cpu"]}
        count = len(answer["latencies"])
        bench.figures.add(name + self.suffix, count / (answer["ended"] - answer["began"]), "calls/s", self.said)
        if not self.suffix:
            p50 = 1000 * percentile(answer["latencies"], 50)
            bench.figures.add(f"{name}.p50", p50, "ms", self.said)
        each = {process: seconds / count for process, seconds in used.items()}
        bench.figures.add_processor(name + self.suffix, each, "µs/call", self.said)

    def warm_up(self) -> None:
        """Makes connections and warms up code before the first round."""
        _warm_up(self.bench, self.door)


@dataclass(frozen=True)
class TwoHops:
    """A server that calls another before it answers. Its figures begin with `name` and end with `suffix`."""

    bench: Bench
    name: str
    suffix: str
    said: str
    door: Door
    servers: tuple[Child, Child]

    def calls(self) -> None:
        """Makes a round of calls at low load."""
        bench, said = self.bench, f"{self.said}; {LOW_RATE:g} calls a second"
        meter = partial(_used, *self.servers)
        before = meter()
        answer = bench.calls(self.door, "echo", rate=LOW_RATE, seconds=bench.plan.open_seconds)
        used = {**processor.since(before, meter()), "client": answer["cpu"]}
        each = {process: seconds / len(answer["latencies"]) for process, seconds in used.items()}
        bench.figures.add_processor(self.name + self.suffix, each, "µs/call", said)
        p50 = 1000 * percentile(answer["latencies"], 50)
        bench.figures.add(f"{self.name}.p50{self.suffix}", p50, "ms", said)
        if not self.suffix:
            bench.figures.series[f"latency.{self.name}"] = curve_in_milliseconds(answer["latencies"])

    def warm_up(self) -> None:
        """Makes connections and warms up code before the first round."""
        _warm_up(self.bench, self.door)


@dataclass(frozen=True)
class Baselines:
    """The servers that orders are compared with; the first runs on the event loop of the services."""

    echoes: list[Echo]
    hops: list[TwoHops]

    def warm_up(self) -> None:
        """Warms up all servers."""
        for echo in self.echoes:
            echo.warm_up()
        for hops in self.hops:
            hops.warm_up()


def baselines(bench: Bench, measured: Measured) -> Baselines:
    """Starts empty servers on each installed event loop; on that of the services two more, which commit durably.

    PlaceOrder waits for one commit in each of its two services; so do these. They have the identities of `measured`.
    """
    base = Baselines([], [])
    secured = _SECURED if measured.door.identity else ""
    for loop in (bench.loop, *(other for other in loops.ALL if other != bench.loop)):
        suffix, said = "" if loop == bench.loop else OTHER, f"{_EMPTY}; server on {loop}{secured}"
        near, far, servers = _started(bench, measured, loop)
        base.echoes.append(Echo(bench, suffix, said, near, servers[0]))
        base.hops.append(TwoHops(bench, "two_hops", suffix, said, far, servers))
    _, far, servers = _started(bench, measured, bench.loop, commit=True)
    said = f"{_COMMITTING}; server on {bench.loop}{secured}"
    base.hops.append(TwoHops(bench, "two_hops.durable", "", said, far, servers))
    return base


def _started(
    bench: Bench, measured: Measured, loop: str, commit: bool = False
) -> tuple[Door, Door, tuple[Child, Child]]:
    """Starts two servers: the way to the first, and to a second that calls the first."""
    near, far, internal = (f"{ports.LOOPBACK}:{port}" for port in ports.free(3))
    first, second = (["--commit", str(bench.folder / f"{name}.db")] if commit else [] for name in ("near", "far"))
    identities, following = measured.system.identities, near
    if identities is not None:
        folder, following = str(identities.layout.folder), internal
        first += ["--identity", folder, NEAR, "--internal", internal]
        second += ["--identity", folder, FAR]
    servers = (
        bench.child("baselines.echo", loop, near, *first),
        bench.child("baselines.echo", loop, far, "--next", following, *second),
    )
    for server in servers:
        server.ask()
    if identities is None:
        return Door(near), Door(far), servers
    return Door(near, NEAR, identities.of_operator), Door(far, FAR, identities.of_operator), servers


def _warm_up(bench: Bench, door: Door) -> None:
    bench.calls(door, "echo", in_flight=8, seconds=0.3, most=UNLIMITED)


def _used(*servers: Child) -> processor.Used:
    return {"server": processor.whole(server.pid for server in servers)}
