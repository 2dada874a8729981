"""The section about traces in docs/operations.md names the spans there are: where they are made, and all they have."""

import ast
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache as once
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import status_error
from ordersys.notification_service import inbox
from ordersys.order_service import store as order_store
from ordersys.product_service.store import changes, placements, sagas
from ordersys.product_service.traces import record_ended
from ordersys.runtime.rabbitmq.confirms import CONFIRMED, Fate, PublishResult
from ordersys.runtime.rabbitmq.messages import AmqpDelivery, RawProperties, of_event
from ordersys.runtime.rabbitmq.traces import begin, published
from ordersys.runtime.rpc.traces import calling, calling_for, traced
from ordersys.runtime.storage import traces as storage_traces
from ordersys.runtime.storage.errors import StorageUnavailable
from ordersys.runtime.storage.traces import Written, committed, step
from ordersys.runtime.tracing import spans
from ordersys.runtime.tracing.contexts import child, new_root
from ordersys.runtime.tracing.spans import Attributes, Kind, Link, Span
from tests.golden_spans import OF_AN_ORDER, SHARED
from tests.unit.test_tracing import Carrying, Outgoing, Recorded, saga

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ordersys"
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.*?) \| (\w+) \| ", PAGE, re.MULTILINE)
HEAD = "| span | made in | its parent is known from | attributes | linked to |"
METHOD = "a.b.OrderService/Create"
STEPS = (placements, changes, sagas, order_store, inbox)
"""The modules that declare a commit as a step of what is traced."""
_OF_TRACING = {"ordersys.runtime.tracing.spans", "ordersys.runtime.storage.traces", "ordersys.runtime.rpc.traces"}
_ATTRIBUTE = re.compile(r"(?:rpc|messaging|db|error|server|ordersys)(?:\.[a-z_]+)+")
_PLACEHOLDERS = (
    (r"orders\.created:order\.created", "EXCHANGE:KEY"),
    (r"notification-service-\d\.v1", "QUEUE"),
    (r"(?<=commit )[a-z0-9-]+", "SERVICE"),
    (r"(?<=saga )\w+", "KIND"),
    (r"[\w.]+/\w+", "PACKAGE.SERVICE/METHOD"),
)


class Row(NamedTuple):
    """A row of the second table: a span, or several of one kind."""

    names: set[str]
    kind: str
    """Where the name alone does not tell."""
    modules: set[str]
    attributes: set[str]
    links: set[str]


def rows() -> Iterator[Row]:
    """The rows of the table of what spans are made of."""
    for line in PAGE.partition(f"{HEAD}\n")[2].splitlines()[1:]:
        if not line.startswith("| "):
            return
        names, modules, _, attributes, links = line.strip("| ").split(" | ")
        quoted = [set(re.findall(r"`([^`]+)`", cell)) for cell in (names, modules, attributes, links)]
        kind = re.search(r", (\w+)$", names)
        yield Row(quoted[0], kind[1] if kind else "", *quoted[1:])


TABLE = list(rows())


def on_page(name: str) -> str:
    """The name of a span with the words of the page for what differs from one to the other."""
    for pattern, word in _PLACEHOLDERS:
        name = re.sub(pattern, word, name)
    return name


def row_of(span: Span) -> Row:
    """The row of a span that was recorded."""
    name, kind = on_page(span.name), span.kind.name.lower()
    (row,) = [row for row in TABLE if name in row.names and row.kind in ("", kind)]
    return row


@pytest.mark.parametrize("name", [*OF_AN_ORDER, *SHARED])
def test_a_span_stands_on_the_page_with_its_kind(name: str) -> None:
    """By its name, with a word for what differs from one to the other."""
    kind = {**OF_AN_ORDER, **SHARED}[name][0].lower()
    name = on_page(name)
    assert any(f"`{name}`" in names and kind == of_row for names, of_row in ROWS), (name, kind)


def test_both_tables_are_about_the_same_spans() -> None:
    """The one says what a span is, the other what it is made of."""
    first = {(name, kind) for names, kind in ROWS for name in re.findall(r"`([^`]+)`", names)}
    known = {(name, row.kind) for row in TABLE for name in row.names}
    of_spans = {(name, kind) for name, kind in first if kind in {each.name.lower() for each in Kind}}
    assert {name for name, _ in of_spans} == {name for name, _ in known}
    assert all(kind in ("", *(k for n, k in of_spans if n == name)) for name, kind in known)


# What is in the source


@once
def tracing_modules() -> Sequence[tuple[str, ast.Module]]:
    """The modules that make spans, or have some made, with their source."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items() if any(name in text for name in _OF_TRACING)}
    return [
        (str(path.relative_to(PACKAGE)), tree)
        for path, tree in trees.items()
        if any(isinstance(node, ast.ImportFrom) and node.module in _OF_TRACING for node in ast.walk(tree))
    ]


def constants(tree: ast.Module) -> dict[str, str]:
    """The texts that a module gives names to."""
    return {
        target.id: pair.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for targets, value in [(node.targets[0], node.value)]
        for target, pair in _pairs(targets, value)
        if isinstance(target, ast.Name) and isinstance(pair, ast.Constant) and isinstance(pair.value, str)
    }


def _pairs(target: ast.expr, value: ast.expr) -> Sequence[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def form(name: ast.expr, known: dict[str, str]) -> str:
    """The name of a span as the source gives it, with `{}` for what is known when it runs."""
    if isinstance(name, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in name.values)
    if isinstance(name, ast.Constant):
        return str(name.value)
    return known.get(name.id, "{}") if isinstance(name, ast.Name) else ""


def made() -> set[tuple[str, str]]:
    """The names of the spans that are made, by the module that does; `step` gives the name of what a commit is."""
    return {
        (module, name)
        for module, tree in tracing_modules()
        if not module.startswith("runtime/tracing/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Span", "Part", "step")
        if (name := form(node.args[0], constants(tree)))
    }


def test_each_span_that_the_source_makes_has_a_row_which_names_its_module() -> None:
    """And no row is left of one that is gone."""
    of_page = {
        (module, re.sub(r"[A-Z][A-Z./:]+", "{}", name))
        for row in TABLE
        for name in row.names
        for module in row.modules
    }  # fmt: skip
    assert made() == of_page


def test_each_attribute_in_the_source_stands_in_the_table() -> None:
    """Also one that only few spans have."""
    named = {
        node.value
        for _, tree in tracing_modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _ATTRIBUTE.fullmatch(node.value)
    }
    assert named
    assert named - FAILPOINTS - {attribute for row in TABLE for attribute in row.attributes} == set()


FAILPOINTS = {"server.started", "server.answering"}
"""Names of the same form that are none of attributes."""


# What is recorded


async def _answered(_: object, context: Any) -> None:
    if context.code() is not grpc.StatusCode.OK:
        raise grpc.aio.AbortError


async def calls(recorded: Recorded) -> None:
    """Spans of calls that are answered, and of those that are made, which fail or do not."""
    recorded.begins = True
    answered: Any = traced(f"/{METHOD}", _answered)
    await answered(None, Carrying())
    with suppress(grpc.aio.AbortError):
        await answered(None, Carrying(new_root(), code=grpc.StatusCode.INTERNAL))
    server: Attributes = {"server.address": "a", "server.port": 1}
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
    for metadata in (calling(METHOD, new_root(), new_root(), server), calling_for(METHOD, [new_root()], server)):
        with suppress(grpc.aio.AioRpcError), metadata:
            raise error


def events() -> None:
    """Spans of two events in one window with every fate, and of their deliveries."""
    pair = [Outgoing(child(new_root())) for _ in range(2)]
    for fate in Fate:
        published(pair, [PublishResult(fate)] * 2, 0.1)
    published(pair, [CONFIRMED] * 2, 0.1)
    portion = [Arrived(number, each) for number, each in enumerate(pair)]
    processing = begin("notification-service-1.v1", portion)
    assert processing is not None
    for dispositions in ([Disposed("ack")] * 2, None):
        processing.recorded(dispositions)
    processing.settled()


class Arrived:
    """The delivery of an event."""

    def __init__(self, tag: int, each: Outgoing) -> None:
        properties = of_event(each.event, each.to).properties
        assert isinstance(properties, RawProperties)
        kind = "ordersys.api.order.v1.OrderCreated"
        self.tag = tag
        self.delivery = AmqpDelivery(
            each.event.event_id,
            kind,
            None,
            b"",
            redelivered=True,
            properties=properties.raw,
            exchange=each.to.exchange,
        )


class Disposed(NamedTuple):
    """A disposition."""

    value: str


def commits() -> None:
    """A commit of two items for each step that is declared, of which one fails."""
    ours = {module.__name__ for module in STEPS}  # other tests declare some of their own
    declared = {of.name for operation, of in storage_traces._STEPS.items() if operation.__module__ in ours}
    for name in declared:

        @step(name, lambda item, _: [item])
        def operation(connection: Any, items: Sequence[str]) -> Sequence[str]:
            return items

        committed("owner", "sqlite", 1, [Written(operation, [new_root()] * 2, [None, StorageUnavailable("full")])])
        del storage_traces._STEPS[operation]


@pytest.fixture
async def everything(recorded: Recorded) -> Sequence[Span]:
    """Spans of all kinds, with all that any of them can have."""
    await calls(recorded)
    root = recorded.spans[0].context
    record_ended([saga(root, resumed=True), saga(child(root))], [b"order", status_error(ErrorReason.OUT_OF_STOCK)])
    events()
    commits()
    return recorded.spans


@pytest.fixture(name="recorded")
def _recorded() -> Iterator[Recorded]:
    recorder = Recorded()
    spans.record_by(recorder)
    yield recorder
    spans.record_by(None)


def test_what_is_recorded_is_what_the_table_says(everything: Sequence[Span]) -> None:
    """Each span has attributes and links of its row; all that a row names is seen."""
    by_context = {span.context: span for span in everything}
    seen: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
    for span in everything:
        row = row_of(span)
        attributes, links = seen.setdefault((on_page(span.name), row.kind), (set(), set()))
        attributes |= {*span.attributes, *(["error.type"] if span.error else [])}
        links |= {on_page(by_context[link.context].name) for link in span.links}
    table = {(name, row.kind): (row.attributes, row.links) for row in TABLE for name in row.names}
    assert seen == table


def test_what_a_link_says_stands_below_the_table(everything: Sequence[Span]) -> None:
    """Few say more than to which span."""
    said: set[str] = {name for span in everything for link in span.links for name in _attributes(link)}
    assert said == {"messaging.message.id"}
    assert "`messaging.message.id` of the link" in PAGE


def _attributes(link: Link) -> Iterator[str]:
    yield from link.attributes
