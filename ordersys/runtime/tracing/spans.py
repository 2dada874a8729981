"""Spans as plain values, made when they have ended, and the one place they go to.

Nothing is recorded, and nothing made, unless `record_by` was told where to. What many orders share, such as a commit, a
call or a window, is a span with a trace of its own; each sampled order has a span as long in its own trace, and the two
are linked, so that an order is one waterfall in any viewer. All of it is called in the event loop's thread.
"""

import time
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

from ordersys.runtime.tracing.contexts import child, is_sampled, relative

Attributes: TypeAlias = Mapping[str, str | int]
NONE: Attributes = MappingProxyType({})


class Kind(Enum):
    """The kind of a span, as OpenTelemetry has them."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()
    PRODUCER = auto()
    CONSUMER = auto()


class Link(NamedTuple):
    """A span in another trace that this one is about; `attributes` say what it is to it."""

    context: str
    attributes: Attributes = NONE


class Span(NamedTuple):
    """A span that has ended. Times are in nanoseconds since 1970.

    It holds no text of an exception: that may quote a customer, a statement or a password.
    """

    name: str
    kind: Kind
    context: str
    parent: str
    """The context of its parent; empty where it begins a trace."""
    start: int
    end: int
    attributes: Attributes = NONE
    links: Sequence[Link] = ()
    error: str = ""
    """The kind of error it ended with, of which there are few; empty where it is none."""


class Part(NamedTuple):
    """The part that one sampled trace has in work that many share. `linked` is what the whole is linked to for it."""

    name: str
    parent: str
    attributes: Attributes = NONE
    kind: Kind = Kind.INTERNAL
    error: str = ""
    linked: Link | None = None


class Recorder(Protocol):
    """Takes spans on their way to a collector. Waits for nothing."""

    def record(self, span: Span) -> None:
        """Takes a span."""
        ...

    def begun(self, name: str) -> str:
        """The context of a trace that begins with the span `name`; empty where none is to be recorded."""
        ...


class _Recording:
    """The recorder of this process; None while there is none."""

    by: Recorder | None = None


_recording = _Recording()


def record_by(recorder: Recorder | None) -> None:
    """Has spans recorded from now on; None ends that."""
    _recording.by = recorder


def is_on() -> bool:
    """True where sampled traces are recorded."""
    return _recording.by is not None


def begun(name: str) -> str:
    """The context of a trace that begins here with the span `name`; empty where none is to be recorded."""
    return "" if _recording.by is None else _recording.by.begun(name)


def sampled(contexts: Sequence[str]) -> list[str]:
    """Those of sampled traces; none where nothing is recorded."""
    return [context for context in contexts if is_sampled(context)] if is_on() else []


def outliving(context: str, name: str) -> str:
    """The context to hand on to work that may outlive this process, of which `name` is the id.

    Its span is a child of `context`, and recorded by whoever finishes the work: `relative` gives either from the other.
    Where nothing is recorded it is `context`.
    """
    return relative(context, name) if is_sampled(context) and is_on() else context


def record(span: Span) -> None:
    """Records a span."""
    if _recording.by is not None:
        # A clock that was put back meanwhile makes no span of negative length.
        _recording.by.record(span._replace(start=min(span.start, span.end)))


def record_shared(whole: Span, parts: Sequence[Part]) -> None:
    """Records what many share, and the part of each: either links to the other."""
    owned = [(part, child(part.parent)) for part in parts]
    record(whole._replace(links=[part.linked or Link(context) for part, context in owned]))
    to_whole = (Link(whole.context),)
    for part, context in owned:
        record(
            Span(
                part.name,
                part.kind,
                context,
                part.parent,
                whole.start,
                whole.end,
                part.attributes,
                to_whole,
                part.error,
            )
        )


def several(attribute: str, count: int) -> Attributes:
    """The size of a batch; by the conventions one alone is none."""
    return {attribute: count} if count > 1 else {}


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()
