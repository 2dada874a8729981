"""The context of every measurement: plan, folder, figures, terminal, and child processes."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.children import Child
from benchmarks.figures import Figures
from benchmarks.plan import Plan
from benchmarks.terminal import Terminal
from ordersys.local.guard import Guard


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

    def child(self, module: str, *arguments: str) -> Child:
        """Starts a child process that ends with the run."""
        return self.stack.enter_context(closing(Child(self.guard, self.folder, module, *arguments)))

    def calls(self, target: str, call: str, **manner: Any) -> dict[str, Any]:
        """Makes a round of load; its results."""
        answer: dict[str, Any] = self.load.ask(target=target, call=call, **manner)
        return answer


def in_turn(number: int, *measurements: Callable[[], None]) -> None:
    """Makes each measurement of round `number`, in reverse order every second time: none is always first."""
    for measure in measurements if number % 2 == 0 else reversed(measurements):
        measure()


@contextmanager
def opened(plan: Plan, loop: str, terminal: Terminal) -> Iterator[Bench]:
    """A bench in a temporary folder, with the load generator running; nothing is left when it is closed."""
    with tempfile.TemporaryDirectory(prefix="ordersys-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        guard = stack.enter_context(closing(Guard(folder)))
        load = stack.enter_context(closing(Child(guard, folder, "load")))
        yield Bench(plan, folder, loop, Figures(), terminal, guard, stack, load)
