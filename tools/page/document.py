"""The page: its chapters, made from the descriptors that docs/contract.md is made from, and its frame."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import ServiceDescriptor

from ordersys.api.auth.v1 import access_pb2
from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract import topology
from tools.documents import elements
from tools.documents.elements import anchor, rpc_name, short
from tools.page.broker import (
    event_part,
    exchanges_table,
    permissions_table,
    queues_table,
    subscription_part,
    topology_drawing,
)
from tools.page.calls import reasons_table, rights_table, service_part, setters_table
from tools.page.layout import titled
from tools.page.markup import Html, code, element, joined, link
from tools.page.messages import enum_part, message_part, rules_table
from tools.page.references import References

_HERE = Path(__file__).parent
_INTRODUCTION = (
    "Everything that travels between the services of ordersys, as proto/ states it: each RPC, event, exchange, queue, "
    "rule and error. This page is derived from proto/ by `nox -s codegen`. It is one file, and needs no network."
)
_READING = {
    "A service to write": "Its RPCs under Services, with who may call them and with which errors they end; what it "
    "publishes under Events, what it takes under Subscriptions.",
    "A message": "Stands with its RPC or event where it belongs to one alone, else under Messages. Each names its "
    "users. Fields go by the names of proto/; ProtoJSON may have them in lowerCamelCase as well.",
    "A rule": "Has the name that protovalidate gives it, such as int32.lte; those that the contract adds come last. A "
    "message that breaks a rule is refused as a request, and a dead letter as an event.",
    "An example": "Is a valid message in ProtoJSON with all of its fields; a field that is not required may be absent.",
    "An error": "Is a reason in google.rpc.ErrorInfo. Final: the request had no effect, and never will have. Repeat: "
    "the same request may be sent again, with the same request_id.",
    "Keys": "/ searches, ↓ and ↑ go through what was found, Enter opens it, Esc ends the search.",
}


class Entry(NamedTuple):
    """A link into a chapter, with those below it."""

    name: str
    anchor: str
    inner: "tuple[Entry, ...]" = ()


class Chapter(NamedTuple):
    """A part of the page, with the links that lead into it."""

    title: str
    contents: list[Html]
    entries: list[Entry]


def page(comments: Mapping[str, str], digest: str) -> str:
    """The page; `comments` are those of all elements by full name, `digest` says of which contract they are."""
    style, script = _text("page.css"), _text("page.js")
    references = References(comments)
    chapters = list(_chapters(references))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        # Nothing but the two texts below, whatever else should ever get into the page (CSP 3, hashes).
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),  # or a browser asks the server for one
        element("title", "The contract of ordersys"),
        element("style", Html(style)),
    )
    body = element(
        "body",
        link("contents", "To the contents", class_="skip"),
        element("header", element("h1", "The contract of ordersys"), _search()),
        _navigation(chapters),
        element("main", _about(digest), *map(_chapter, chapters), id="contents", tabindex="-1"),
        element("script", Html(script)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _search() -> Html:
    """The search, which is there once the script runs."""
    field = {"aria_keyshortcuts": "/", "autocomplete": "off", "spellcheck": "false"}
    return element(
        "div",
        element("label", "Search", for_="search"),
        element("input", id="search", type="search", placeholder="OUT_OF_STOCK, order_id, queue …   press /", **field),
        element("button", "Open all examples", id="examples", type="button"),
        element("p", id="found", role="status"),
        element("ul", id="hits", hidden=True),
        id="finder",
        role="search",
        hidden=True,
    )


def _navigation(chapters: Iterable[Chapter]) -> Html:
    entries = [Entry(chapter.title, anchor(chapter.title), tuple(chapter.entries)) for chapter in chapters]
    return element("nav", _listed(entries), aria_label="Contents")


def _listed(entries: Iterable[Entry]) -> Html:
    items = [element("li", link(e.anchor, e.name), _listed(e.inner) if e.inner else "") for e in entries]
    return element("ul", *items)


def _about(digest: str) -> Html:
    terms = [part for term, text in _READING.items() for part in (element("dt", term), element("dd", text))]
    parts = _INTRODUCTION.split("`")
    introduction = [code(part) if number % 2 else part for number, part in enumerate(parts)]
    which = joined("Digest of the contract, as reports of the suite name it: ", code(digest))
    heading = element("h2", "How to read it")
    return element(
        "section", element("p", *introduction), heading, element("dl", *terms), element("p", which), id="about"
    )


def _chapter(chapter: Chapter) -> Html:
    place = anchor(chapter.title)
    return element("section", titled("h2", chapter.title, place), *chapter.contents, id=place, class_="chapter")


def _chapters(references: References) -> Iterator[Chapter]:
    services, events, enums = topology.grpc_services(), topology.events().values(), elements.enums()
    others = [m for m in elements.messages() if m.full_name not in topology.events() and not references.rpc_of(m)]
    yield Chapter("Topology", [topology_drawing(), exchanges_table(), queues_table(references)], [])
    yield Chapter(
        "Services", [service_part(service, references) for service in services], list(map(_entries, services))
    )
    files = list(dict.fromkeys(event.file.name for event in events))
    about = [references.text(name) for name in files]
    yield Chapter("Events", [*about, *(event_part(event, references) for event in events)], _linked(events))
    subscribers = [Entry(s.consumer, f"subscriber.{s.consumer}") for s in topology.subscriptions()]
    parts = [subscription_part(service, references) for service in topology.subscribers()]
    yield Chapter("Subscriptions", parts, subscribers)
    yield Chapter("Error reasons", [references.text(ErrorReason.DESCRIPTOR.full_name), reasons_table(references)], [])
    yield Chapter(
        "Rights", [references.text(access_pb2.DESCRIPTOR.name), rights_table(references), setters_table()], []
    )
    yield Chapter("Permissions", [permissions_table()], [])
    yield Chapter("Messages", [message_part(message, references, "h3") for message in others], _linked(others))
    yield Chapter("Enums", [enum_part(enum, references) for enum in enums], _linked(enums))
    yield Chapter("Rules", [rules_table(references)], [])


def _entries(service: ServiceDescriptor) -> Entry:
    methods = tuple(Entry(method.name, anchor(rpc_name(method))) for method in service.methods)
    return Entry(service.name, anchor(short(service)), methods)


def _linked(kinds: Iterable[Any]) -> list[Entry]:
    return [Entry(kind.name, anchor(short(kind))) for kind in kinds]
