"""Spans of commits: one that is shared, and in each sampled trace the step of it that the commit was."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from ordersys.runtime.base.errors import Unavailable
from ordersys.runtime.storage.interface import Operation
from ordersys.runtime.tracing.contexts import is_sampled, new_root
from ordersys.runtime.tracing.spans import Attributes, Kind, Part, Span, is_on, now, record_shared, several

F = TypeVar("F", bound=Callable[..., Any])
Contexts = Callable[[Any, Any], Iterable[str]]
"""The trace contexts of an item of an operation and its result, which may be an exception."""


class _Step(NamedTuple):
    name: str
    contexts: Contexts


_STEPS: dict[Any, _Step] = {}


class Written(NamedTuple):
    """Items that an operation has worked on, and the result of each."""

    operation: Operation
    items: Sequence[Any]
    results: Sequence[Any]


def step(name: str, contexts: Contexts) -> Callable[[F], F]:
    """Declares an operation as a step of what is traced: `name` is the name of its spans."""

    def declared(operation: F) -> F:
        _STEPS[operation] = _Step(name, contexts)
        return operation

    return declared


def committed(owner: str, system: str, began: int, writes: Iterable[Written]) -> None:
    """Records a commit, where a sampled trace has a part in it. `began` is in nanoseconds since 1970.

    Looks at `writes` only where spans are recorded, and once; of a write without a sampled item it makes nothing.
    """
    if not is_on():
        return
    items = 0
    parts: list[Part] = []
    for written in writes:
        items += len(written.items)
        parts += _parts(written)
    if parts:
        attributes: Attributes = {"db.system.name": system, **several("ordersys.batch.items", items)}
        record_shared(Span(f"commit {owner}", Kind.INTERNAL, new_root(), "", began, now(), attributes), parts)


def _parts(written: Written) -> Iterator[Part]:
    of_method = getattr(written.operation, "__func__", written.operation)  # a bound method is a new object each time
    if declared := _STEPS.get(of_method):
        for item, result in zip(written.items, written.results, strict=True):
            for context in declared.contexts(item, result):
                if is_sampled(context):
                    error = type(result).__name__ if isinstance(result, Unavailable) else ""  # a refusal is none
                    yield Part(declared.name, context, error=error)
