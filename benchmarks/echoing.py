"""Empty calls, which orders are held against (S1, S2): served on the event loop of the services, and on the other."""

from dataclasses import dataclass
from functools import partial

from benchmarks import loops, processor
from benchmarks.bench import Bench
from benchmarks.children import Child
from benchmarks.pipeline import UNLIMITED
from benchmarks.plan import LOW_RATE
from benchmarks.summary import curve_in_milliseconds, percentile
from ordersys.local import ports

OTHER = ".other_loop"
"""The figures of a baseline that does not run on the services' event loop end so."""


@dataclass(frozen=True)
class Echo:
    """An empty server, and one that asks it. Their figures end with `suffix`."""

    bench: Bench
    loop: str
    suffix: str
    address: str
    two_hops: str
    servers: tuple[Child, Child]

    def calls(self, in_flight: int) -> None:
        """A round of a closed loop; its processor time is that of client and server."""
        bench, name = self.bench, f"echo.{in_flight}"
        meter = partial(self._used, self.servers[:1])
        before = meter()
        answer = bench.calls(self.address, "echo", in_flight=in_flight, seconds=bench.plan.seconds, most=UNLIMITED)
        used = {**processor.since(before, meter()), "client": answer["cpu"]}
        count = len(answer["latencies"])
        bench.figures.add(name + self.suffix, count / (answer["ended"] - answer["began"]), "calls/s", self._said)
        if not self.suffix:
            p50 = 1000 * percentile(answer["latencies"], 50)
            bench.figures.add(f"{name}.p50", p50, "ms", self._said)
        each = {process: seconds / count for process, seconds in used.items()}
        bench.figures.add_processor(name + self.suffix, each, "µs/call", self._said)

    def hops(self) -> None:
        """A round of two hops at low load."""
        bench, said = self.bench, f"{self._said}; {LOW_RATE:g} calls a second"
        meter = partial(self._used, self.servers)
        before = meter()
        answer = bench.calls(self.two_hops, "echo", rate=LOW_RATE, seconds=bench.plan.open_seconds)
        used = {**processor.since(before, meter()), "client": answer["cpu"]}
        each = {process: seconds / len(answer["latencies"]) for process, seconds in used.items()}
        bench.figures.add_processor(f"two_hops{self.suffix}", each, "µs/call", said)
        p50 = 1000 * percentile(answer["latencies"], 50)
        bench.figures.add(f"two_hops.p50{self.suffix}", p50, "ms", said)
        if not self.suffix:
            bench.figures.series["latency.two_hops"] = curve_in_milliseconds(answer["latencies"])

    def warm_up(self) -> None:
        """Connections are made and code is warm when the first round begins."""
        for target in (self.address, self.two_hops):
            self.bench.calls(target, "echo", in_flight=8, seconds=0.3, most=UNLIMITED)

    @property
    def _said(self) -> str:
        return f"empty message, no validation, nothing kept; server on {self.loop}"

    def _used(self, servers: tuple[Child, ...]) -> processor.Used:
        return {"server": processor.whole(server.pid for server in servers)}


def echoes(bench: Bench) -> list[Echo]:
    """One on each event loop there is, first that of the services."""
    others = [loop for loop in loops.ALL if loop != bench.loop]
    return [_started(bench, loop, OTHER if loop in others else "") for loop in (bench.loop, *others)]


def _started(bench: Bench, loop: str, suffix: str) -> Echo:
    near, far = (f"{ports.LOOPBACK}:{port}" for port in ports.free(2))
    servers = (
        bench.child("baselines.echo", loop, near),
        bench.child("baselines.echo", loop, far, near),
    )
    for server in servers:
        server.ask()
    return Echo(bench, loop, suffix, near, far, servers)
