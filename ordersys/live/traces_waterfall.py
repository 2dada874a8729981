"""The waterfall of an order: its spans as rows beneath each other, with what it shared with other orders. Pure.

What orders share, such as a commit, a call or a window, is a span in a trace of its own, linked with the part that
each order has in it. A row of the order tells how many others shared it; what was done for all of them together is
shown beneath, so that the waterfall goes on through the other service.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Value: TypeAlias = str | int | float | bool
Context: TypeAlias = tuple[str, str]
MOST_ROWS = 500
MESSAGE_ID, ORDER_ID, REDELIVERED = "messaging.message.id", "ordersys.order.id", "ordersys.redelivered"
SHOWN = ("rpc.", "messaging.", "db.", "error.", "server.", "ordersys.")
"""The beginnings of the names of attributes that are shown: those that docs/operations.md names."""
CALLER, NOT_HERE = "caller", "not received"
_COUNTS = ("ordersys.batch.items", "messaging.batch.message_count")
_MOST_ATTRIBUTES, _LONGEST = 30, 200
_TRIED_AGAIN = ("publish", "process")
_KEY = "messaging.rabbitmq.destination.routing_key"
_OPERATION = "messaging.operation.name"


class Span(NamedTuple):
    """A span. Ids in hexadecimal, times in nanoseconds since 1970, kinds in lower case."""

    trace: str
    span: str
    parent: str
    service: str
    name: str
    kind: str
    start: int
    end: int
    attributes: Mapping[str, Value] = {}
    links: Sequence[Context] = ()
    is_error: bool = False
    is_held: bool = True
    """False for one that stands for a parent that nobody sent: a caller that records none, or a span to come."""

    @property
    def context(self) -> Context:
        """Its trace and itself, as links name it."""
        return self.trace, self.span


class _Row(NamedTuple):
    span: Span
    depth: int
    others: int | None = None
    """The number of others it was done for as well; None for what is of the order alone."""

    @property
    def is_shared(self) -> bool:
        """True for what is in the trace of all of them."""
        return self.others is not None


def order_of(attributes: Mapping[str, Value]) -> str:
    """The order that a span is about, by the attributes it has; empty for none. An event's id is ORDER.VERSION."""
    order = attributes.get(ORDER_ID) or str(attributes.get(MESSAGE_ID, "")).rpartition(".")[0]
    return str(order).lower()


def waterfall(order_id: str, own: Sequence[Span], linked: Sequence[Span]) -> dict[str, Any]:
    """The waterfall of an order in one trace as a document: `own` are the spans of that, `linked` those it may share.

    Times in it are microseconds, from `began` on, which is milliseconds since 1970 (UTC). Spans may be missing, and
    come in any order. It has 500 rows at most; `omitted` is how many there would be more.
    """
    spans = _with_parents(_about(order_id, own))
    shared = _Shared(spans, linked)
    rows = list(_rows(spans, shared))
    began = min((row.span.start for row in rows), default=0)
    ended = max((row.span.end for row in rows), default=0)
    attempts = _attempts(spans)
    return {
        "trace": own[0].trace if own else "",
        "began": began // 1_000_000,
        "duration": (ended - began) // 1000,
        "services": list(dict.fromkeys(row.span.service for row in rows if row.span.service)),
        "rows": [_document(row, began, shared, attempts.get(row.span.span, 1)) for row in rows[:MOST_ROWS]],
        "omitted": max(len(rows) - MOST_ROWS, 0),
    }


def _about(order_id: str, spans: Sequence[Span]) -> Sequence[Span]:
    """Those about one order, where the trace is about several: with what is above and beneath them."""
    about = {span.span: order_of(span.attributes) for span in spans}
    if not {*about.values()} - {"", order_id}:
        return spans
    by_id = {span.span: span for span in spans}
    beneath = _children(spans)
    wanted: set[str] = set()
    left = [span.span for span in spans if about[span.span] == order_id]
    for each in list(left):
        above = by_id[each].parent
        while above in by_id and above not in wanted:
            wanted.add(above)
            above = by_id[above].parent
    below: set[str] = set()
    while left:
        each = left.pop()
        if each not in below:  # nobody's parent is trusted: some are above themselves
            below.add(each)
            left += [child.span for child in beneath.get(each, ()) if about[child.span] in ("", order_id)]
    return [span for span in spans if span.span in wanted or span.span in below]


def _with_parents(spans: Sequence[Span]) -> Sequence[Span]:
    """With a span in the place of each parent that is missing, so that what has it in common stays together."""
    known = {span.span for span in spans}
    missing: dict[str, list[Span]] = {}
    for span in spans:
        if span.parent and span.parent not in known:
            missing.setdefault(span.parent, []).append(span)
    return [*(_in_place_of(parent, children) for parent, children in missing.items()), *spans]


def _in_place_of(parent: str, children: Sequence[Span]) -> Span:
    name = CALLER if any(child.kind == "server" for child in children) else NOT_HERE
    start, end = min(child.start for child in children), max(child.end for child in children)
    return Span(children[0].trace, parent, "", "", name, "client", start, end, is_held=False)


class _Shared:
    """The work that the spans of an order share with others."""

    def __init__(self, own: Sequence[Span], linked: Sequence[Span]) -> None:
        self._own = {span.context for span in own}
        by_context = {span.context: span for span in linked}
        self._linked = linked
        self._whole = {
            span.span: whole for span in own for link in span.links if (whole := by_context.get(link)) is not None
        }
        pointed_to = {whole.context for whole in self._whole.values()}
        self._later: dict[str, list[Span]] = {}
        """What is linked to a span that is not linked to it: the acknowledgement of a delivery."""
        for span in linked:
            targets = [of for trace, of in span.links if (trace, of) in self._own]
            if targets and span.context not in pointed_to:
                self._later.setdefault(targets[0], []).append(span)
        self._wholes = {whole.context: whole for whole in [*self._whole.values(), *_flat(self._later.values())]}

    def whole(self, span: Span) -> Span | None:
        """The work that `span` is a part of, or is itself, where that serves many."""
        return self._whole.get(span.span) or self._wholes.get(span.context)

    def others(self, whole: Span) -> int:
        """The number of those that shared it: sampled ones by links, all of them where it tells their number."""
        links = {*whole.links}
        mine = max(len(links & self._own), 1)
        counts = [value - mine for name in _COUNTS if isinstance(value := whole.attributes.get(name), int)]
        return max([len(links - self._own), *counts, 0])

    def beneath(self, span: Span) -> Sequence[Span]:
        """The spans of all of them together beneath one of the order: without the whole that it is a part of."""
        whole = self._whole.get(span.span)
        children = [] if whole is None else [s for s in self._linked if (s.trace, s.parent) == whole.context]
        return [*children, *self._later.get(span.span, ())]

    def children(self, span: Span) -> Sequence[Span]:
        """The children of one of those."""
        return [other for other in self._linked if (other.trace, other.parent) == span.context]


def _rows(spans: Sequence[Span], shared: _Shared) -> Iterator[_Row]:
    """Each span once, beneath its parent, in the order of time; one that is above itself begins anew."""
    beneath = _children(spans)
    seen: set[Context] = set()
    by_id = {span.span for span in spans}
    roots = [span for span in spans if span.parent not in by_id]
    for start in [*sorted(roots, key=_time), *sorted(spans, key=_time)]:
        left = [_Row(start, 0)]
        while left:
            row = left.pop()
            if row.span.context in seen:
                continue
            seen.add(row.span.context)
            yield row
            left += sorted(_beneath(row, beneath, shared), key=lambda child: _time(child.span), reverse=True)


def _beneath(row: _Row, children: Mapping[str, Sequence[Span]], shared: "_Shared") -> Iterator[_Row]:
    depth = row.depth + 1
    if row.is_shared:
        yield from (_Row(child, depth, row.others) for child in shared.children(row.span))
        return
    yield from (_Row(child, depth) for child in children.get(row.span.span, ()))
    for child in shared.beneath(row.span):
        yield _Row(child, depth, shared.others(shared.whole(child) or shared.whole(row.span) or child))


def _children(spans: Iterable[Span]) -> Mapping[str, Sequence[Span]]:
    beneath: dict[str, list[Span]] = {}
    for span in spans:
        beneath.setdefault(span.parent, []).append(span)
    return beneath


def _time(span: Span) -> tuple[int, int, str]:
    return span.start, -span.end, span.span


def _attempts(spans: Iterable[Span]) -> Mapping[str, int]:
    """The number of each try to publish an event, or to deliver it to one subscriber."""
    tries: dict[tuple[str, str, str], list[Span]] = {}
    for span in spans:
        if span.attributes.get(_OPERATION) in _TRIED_AGAIN and MESSAGE_ID in span.attributes:
            tries.setdefault((span.service, span.name, span.parent), []).append(span)
    return {span.span: number for same in tries.values() for number, span in enumerate(sorted(same, key=_time), 1)}


def _document(row: _Row, began: int, shared: _Shared, attempt: int) -> dict[str, Any]:
    span, whole = row.span, shared.whole(row.span)
    attributes = {**(whole.attributes if whole is not None else {}), **span.attributes}
    others = row.others if whole is None else shared.others(whole)
    return {
        "id": span.span,
        "parent": span.parent,
        "depth": row.depth,
        "service": span.service[:_LONGEST],
        "name": span.name[:_LONGEST],
        "label": _label(span)[:_LONGEST],
        "notes": list(_notes(span, others or 0, attempt)),
        "kind": span.kind,
        "start": (span.start - began) // 1000,
        "duration": (span.end - span.start) // 1000,
        "status": "error" if span.is_error else "ok",
        "recorded": span.is_held,
        "attempt": attempt,
        "others": others,
        "part_of": whole.name[:_LONGEST] if whole is not None and not row.is_shared else "",
        "attributes": dict(_shown(attributes)),
    }


def _label(span: Span) -> str:
    """The name without the package of a service, and without exchange and queue where there is a routing key."""
    if key := span.attributes.get(_KEY):
        return f"{span.attributes.get(_OPERATION, '')} {key}".strip()
    service, slash, method = span.name.partition("/")
    return f"{service.rpartition('.')[2]}/{method}" if slash else span.name


def _notes(span: Span, others: int, attempt: int) -> Iterator[str]:
    """The words for what is particular about a span."""
    if others:
        yield f"shared with {others:,} {'other' if others == 1 else 'others'}"
    if span.attributes.get(REDELIVERED):  # also where the delivery before died with its process, and is not held
        yield "redelivered"
    if attempt > 1:
        yield f"{'delivered' if span.kind == 'consumer' else 'published'} again: {attempt}"
    if span.is_error:
        yield f"error: {span.attributes.get('error.type', 'not named')}"[:_LONGEST]
    if not span.is_held:
        yield "sends no spans" if span.name == CALLER else "has not come yet"


def _shown(attributes: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    names = sorted(name for name in attributes if name.startswith(SHOWN))
    for name in names[:_MOST_ATTRIBUTES]:
        yield name[:_LONGEST], str(attributes[name])[:_LONGEST]


def _flat(lists: Iterable[Sequence[Span]]) -> Iterator[Span]:
    return (span for spans in lists for span in spans)
