"""The page of the contract: whole, self-contained, safe, with examples that are valid."""

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import pika
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import Parse

from ordersys.contract.descriptors import message_class
from ordersys.contract.events import CONTENT_TYPE, Delivery, decode
from ordersys.contract.permissions import contract_permissions
from ordersys.contract.topology import (
    Binding,
    Exchange,
    Publication,
    Queue,
    Subscription,
    Topology,
    events,
    grpc_services,
    publication,
    subscriptions,
    topology,
)
from ordersys.contract.validation import violations
from ordersys.runtime.rabbitmq.messages import of_event
from tools.codegen import IMAGE, PAGE, ROOT, digest
from tools.documents import elements, reference
from tools.documents.comments import comments
from tools.documents.elements import anchor, rpc_name, short
from tools.documents.error_reasons import reasons
from tools.page.document import page
from tools.page.drawing import Drawing
from tools.page.examples import examples, json_text, on_the_wire
from tools.page.markup import Html, element, link

COMMENTS = comments(FileDescriptorSet.FromString((ROOT / IMAGE).read_bytes()))
TEXT = page(COMMENTS, digest())
BLOCKS = {"details", "div", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "p", "pre", "section", "table", "ul"}
VOID = {"br", "input", "link", "meta"}
METHODS = [method for service in grpc_services() for method in service.methods]
MESSAGES = elements.messages()
HOSTILE = "</p><img src=x onerror=alert(1)> `</code><script>alert(2)</script>` \" ' & <b>"


class Reader(HTMLParser):
    """The elements of a page; fails where one is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[tuple[str, str]] = []
        """Each text, with the element that it stands in."""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of <{tag}> stands twice"
        assert not (tag in BLOCKS and "p" in self.open), f"<{tag}> ends the paragraph at {self.getpos()}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open[-1] == tag, f"</{tag}> inside {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append((self.open[-1] if self.open else "", data))

    def values(self, attribute: str) -> list[str]:
        """The values of an attribute."""
        return [attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes]

    def inside(self, tag: str) -> list[str]:
        """The texts in elements of a kind."""
        return [text for parent, text in self.words if parent == tag]


READ = Reader(TEXT)


def expected_anchors() -> Iterator[str]:
    """The anchors of all that a reader may look up."""
    yield from (anchor(short(service)) for service in grpc_services())
    yield from (anchor(rpc_name(method)) for method in METHODS)
    for kind in (*MESSAGES, *elements.enums()):
        yield anchor(short(kind))
    yield from (f"{anchor(short(field.containing_type))}.{field.name}" for field in elements.fields(MESSAGES))
    yield from (f"{anchor(short(enum))}.{value.name}" for enum in elements.enums() for value in enum.values)
    yield from (f"reason.{name}" for name in reasons())
    yield from (f"exchange.{exchange.name}" for exchange in topology().exchanges)
    yield from (f"queue.{queue.name}" for queue in topology().queues)
    yield from (f"subscriber.{subscription.consumer}" for subscription in subscriptions())
    yield from (f"user.{user.user}" for user in contract_permissions())
    yield from (f"rule.{name}" for _, name, _ in elements.predefined())


def headings_of(markdown: str) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^##+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_page_is_well_formed() -> None:
    """Each element that is opened is closed, inside the one it was opened in."""
    assert READ.open == []
    assert len(READ.elements) > 1000


def test_everything_in_the_contract_can_be_linked_to() -> None:
    """RPCs, messages, fields, enum values, reasons, exchanges, queues, subscribers, users, rules: each once."""
    ids = READ.values("id")
    assert len(ids) == len(set(ids))
    expected = list(expected_anchors())
    assert len(expected) > 200
    assert set(expected) - set(ids) == set()


def test_links_to_the_page_in_markdown_work_on_this_one() -> None:
    """Every heading of docs/contract.md has its anchor here."""
    assert headings_of(reference.page(COMMENTS)) - set(READ.values("id")) == set()


def test_every_link_leads_to_a_place_on_the_page() -> None:
    """No link goes anywhere else; the icon is empty, so that no browser asks for one."""
    assert {link.removeprefix("#") for link in READ.values("href") if link != "data:,"} <= set(READ.values("id"))
    assert all(link.startswith("#") for link in READ.values("href") if link != "data:,")
    assert {end.removeprefix("url(#").removesuffix(")") for end in READ.values("marker-end")} <= set(READ.values("id"))


def test_the_page_asks_nobody_for_anything() -> None:
    """No element that fetches, and neither a style nor a script that could."""
    assert READ.values("src") == READ.values("srcset") == READ.values("action") == READ.values("style") == []
    tags = {tag for tag, _ in READ.elements}
    assert not tags & {"iframe", "img", "object", "embed", "form", "base", "image", "use", "video"}
    (style,), (script,) = READ.inside("style"), READ.inside("script")
    assert not re.search(r"url\(|@import|@font-face", style)
    assert not re.search(r"fetch|XMLHttp|import|WebSocket|EventSource|sendBeacon|innerHTML|https?:", script)


def test_the_policy_allows_this_style_and_this_script_only() -> None:
    """By their hashes: nothing that got into the page some other way runs."""
    policies = [a["content"] or "" for tag, a in READ.elements if tag == "meta" and "http-equiv" in a]
    (policy,) = policies
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    hashes = [
        f"'sha256-{b64encode(sha256(READ.inside(tag)[0].encode()).digest()).decode()}'" for tag in ("style", "script")
    ]
    assert [rules["style-src"], rules["script-src"]] == hashes
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    names = {name for _, attributes in READ.elements for name in attributes}
    assert not [name for name in names if name.startswith("on")]


@pytest.mark.parametrize("kind", MESSAGES, ids=short)
def test_each_example_is_valid_and_can_be_read_back(kind: Descriptor) -> None:
    """By the rules of the contract; and it stands on the page."""
    assert examples(kind)
    for example in examples(kind):
        assert violations(example) == []
        assert Parse(json_text(example), message_class(kind)()) == example
        assert json_text(example) in READ.inside("code")


@pytest.mark.parametrize("event", events().values(), ids=lambda event: event.name)
def test_the_example_of_an_event_is_what_its_publisher_sends(event: Descriptor) -> None:
    """Property by property; a subscriber takes it, and both say the same of its order and version."""
    properties, message = on_the_wire(event)
    sent = of_event(message, publication(event), str(properties["user_id"])).properties
    read = pika.BasicProperties().decode(b"".join(sent.encode()))
    present = {name: value for name, value in vars(read).items() if value is not None and name != "headers"}
    assert present == properties
    taken_as = decode(Delivery(message.event_id, event.full_name, CONTENT_TYPE, message.body))
    assert message.event_id == f"{taken_as.order_id}.{taken_as.version}"
    assert message.subject == taken_as.order_id
    assert message.body.hex(" ", 1) in READ.inside("code")
    assert all(value in READ.inside("code") for value in (read.headers or {}).values())


def test_each_message_names_its_users() -> None:
    """None of them is there for nothing."""
    users = [text for text in READ.inside("p") if text.startswith("Used by")]
    assert len(users) == len(MESSAGES) + len(elements.enums())
    assert "Used by </p>" not in TEXT


def test_the_rights_to_an_rpc_stand_with_it() -> None:
    """Reading products is for all; creating an order for the Product Service."""
    reading = TEXT[TEXT.index('id="productservicegetproduct"') :]
    assert re.search(r"may be called by</dt><dd>.*?anonymous.*?customer.*?operator.*?</dd>", reading[:4000])
    creating = TEXT[TEXT.index('id="orderservicecreateorder"') :]
    assert re.search(
        r'may be called by</dt><dd><a href="#user.product-service">product-service</a></dd>', creating[:4000]
    )


def test_nothing_is_announced_that_is_not_there() -> None:
    """No fact and no code is empty."""
    assert re.findall(r"<(dd|code|p|text)(?: class=\"\w+\")?></\1>", TEXT) == []


def test_reasons_that_a_comment_names_are_links() -> None:
    """From an RPC to what it may be refused with, and back."""
    assert '<a href="#reason.ORDER_ALREADY_EXISTS">ORDER_ALREADY_EXISTS</a>' in TEXT
    row = re.search(r'id="reason.OUT_OF_STOCK".+?</tr>', TEXT)
    assert row
    assert 'href="#productserviceplaceorder"' in row[0]


def test_comments_are_text_whatever_stands_in_them() -> None:
    """Neither an element nor an attribute comes of one, and each is shown as it was written."""
    read = Reader(page(dict.fromkeys(COMMENTS, HOSTILE), HOSTILE))
    assert read.open == []
    assert not {"img", "b"} & {tag for tag, _ in read.elements}
    assert len(read.inside("script")) == 1
    assert "</code><script>alert(2)</script>" in read.inside("code")
    assert any(text.startswith("</p><img src=x onerror=alert(1)>") for text in read.inside("p"))


def test_names_are_text_in_attributes_as_well() -> None:
    """A quote ends no attribute; markup is not escaped twice."""
    assert element("a", '<"', href='"><b') == '<a href="&quot;&gt;&lt;b">&lt;&quot;</a>'
    assert element("p", Html("<b>"), hidden=True, id=None) == "<p hidden><b></p>"
    assert link("a'b", "&") == '<a href="#a&#x27;b">&amp;</a>'


def test_the_page_is_the_same_each_time_and_the_one_that_was_generated() -> None:
    """Byte for byte; it names the contract that it is of."""
    assert page(COMMENTS, digest()) == TEXT
    assert (ROOT / PAGE).read_text(encoding="utf-8") == TEXT, "run `python -m tools.codegen`"
    assert digest() in READ.inside("code")


def arrows(read: Reader) -> list[tuple[str | None, str | None]]:
    """The ends of each arrow of a drawing."""
    return [(a["data-from"], a["data-to"]) for tag, a in read.elements if tag == "path" and "data-from" in a]


def test_the_drawing_has_every_way_of_the_topology_once() -> None:
    """Publications, bindings, deliveries, dead letters, replays, and nothing else."""
    published = {(publication(event).publisher, publication(event).exchange) for event in events().values()}
    bound = {(binding.source, binding.destination) for binding in topology().bindings}
    ways = {
        end
        for s in subscriptions()
        for end in (
            (s.queue, s.consumer),
            (s.queue, s.dead_letter_queue),
            (s.dead_letter_queue, s.consumer),
            (s.consumer, s.replay_exchange),
        )
    }
    assert sorted(map(str, arrows(READ))) == sorted(map(str, published | bound | ways))


def another() -> Any:
    """A topology with a chain of exchanges, three subscribers, and no exchange for replays."""
    exchanges = tuple(Exchange(name, "topic") for name in ("a", "b", "c"))
    subscribed = [Subscription(f"s{n}", "c", f"s{n}.v1", f"s{n}.dead.v1", "", {}) for n in range(3)]
    queues = tuple(Queue(name, {}) for s in subscribed for name in (s.dead_letter_queue, s.queue))
    bindings = (
        Binding("a", "b", True, "#"),
        Binding("b", "c", True, "#"),
        *(Binding("c", s.queue, False, "key") for s in subscribed),
    )
    published = {f"E{n}": Publication("a", f"key{n}", f"acme.P{n}") for n in range(4)}
    return Topology(exchanges, queues, bindings), published, subscribed


OURS = (topology(), {event.name: publication(event) for event in events().values()}, subscriptions())


@pytest.mark.parametrize("drawn", [OURS, another()], ids=["ours", "another"])
def test_no_box_of_the_drawing_covers_another(drawn: Any) -> None:
    """In ours and in another one; each name fits into its box."""
    drawing = Drawing(*drawn)
    read = Reader(drawing.svg())
    assert read.open == []
    boxes = [a for tag, a in read.elements if tag == "rect"]
    assert len(boxes) == len(drawing.boxes) > 8
    for one_box, other in combinations(drawing.boxes.values(), 2):
        apart = abs(one_box.top - other.top) >= 60
        assert apart or one_box.right <= other.left or other.right <= one_box.left, (one_box.name, other.name)
    for box in drawing.boxes.values():
        assert "".join(box.lines) == box.name
        assert max(map(len, box.lines)) * 7.23 < box.width
