"""The context of every measurement: plan, folder, figures, terminal, and child processes."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.children import Child
from benchmarks.figures import Figures
from benchmarks.plan import Plan
from benchmarks.terminal import Terminal
from ordersys.local.guard import Guard


class Door(NamedTuple):
    """The place where a load calls. Where there are identities: of which service, and as whom."""

    target: str
    service: str = ""
    """The name in the certificate that has to be there."""
    identity: Mapping[str, str] = MappingProxyType({})
    """The settings of the client: paths of files, no token."""


@dataclass(frozen=True)
class Bench:
    """A run under way."""

    plan: Plan
    folder: Path
    loop: str
    """The event loop of the services and of their baselines."""
    figures: Figures
    terminal: Terminal
    guard: Guard
    stack: ExitStack
    load: Child
    secure: bool = False
    """True for systems with identities, and baselines with what is like them."""

    def child(self, module: str, *arguments: str) -> Child:
        """Starts a child process that ends with the run."""
        return self.stack.enter_context(closing(Child(self.guard, self.folder, module, *arguments)))

    def calls(self, door: Door, call: str, **manner: Any) -> dict[str, Any]:
        """Makes a round of load; its results."""
        at = {"target": door.target, "service": door.service, "identity": dict(door.identity)}
        answer: dict[str, Any] = self.load.ask(**at, call=call, **manner)
        return answer


def in_turn(number: int, *measurements: Callable[[], None]) -> None:
    """Makes each measurement of round `number`, in reverse order every second time: none is always first."""
    for measure in measurements if number % 2 == 0 else reversed(measurements):
        measure()


@contextmanager
def opened(plan: Plan, loop: str, terminal: Terminal, secure: bool = False) -> Iterator[Bench]:
    """A bench in a temporary folder, with the load generator running; nothing is left when it is closed."""
    with tempfile.TemporaryDirectory(prefix="ordersys-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        guard = stack.enter_context(closing(Guard(folder)))
        load = stack.enter_context(closing(Child(guard, folder, "load")))
        yield Bench(plan, folder, loop, Figures(), terminal, guard, stack, load, secure)
