"""References between the elements of the contract: where each stands, which its comment names, by whom it is used."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from ordersys.contract import topology
from tools.documents import elements
from tools.documents.elements import anchor, rpc_name, short
from tools.documents.error_reasons import reasons
from tools.page.markup import Html, code, element, joined, link

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Z]\w*)?")
_CODE = re.compile(r"`([^`\n]+)`")


class References:
    """The comments of the contract, with each name in them led to where it stands."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self.methods = [method for service in topology.grpc_services() for method in service.methods]
        self._places = _places(self.methods)
        self._uses: dict[str, list[Html]] = defaultdict(list)
        for name, use in _uses(self.methods):
            self._uses[name].append(use)

    def text(self, name: str, service: str = "") -> Html:
        """The comment of an element by full name, as paragraphs; names of RPCs are those of `service` first."""
        return joined(*map(Html, self._blocks(self._comments[name], service)))

    def line(self, name: str) -> Html:
        """The same within a cell of a table: paragraphs without the space between them."""
        parts = self._comments[name].split("\n\n")
        return joined(*(element("div", self._line(part, "")) for part in parts))

    def reasons_named(self, name: str) -> list[str]:
        """The error reasons that the comment of an element names."""
        words = _NAME.findall(self._comments[name])
        return [reason for reason in reasons() if reason in words]

    def users(self, kind: Any) -> list[Html]:
        """The RPCs, fields and subscribers that have to do with a message or an enum."""
        return self._uses[kind.full_name]

    def rpc_of(self, kind: Descriptor) -> MethodDescriptor | None:
        """The RPC that a message is the request or the response of, where it is that of one alone."""
        of = [method for method in self.methods if kind in (method.input_type, method.output_type)]
        return of[0] if len(of) == 1 else None

    def _blocks(self, comment: str, service: str) -> Iterator[str]:
        for paragraph in comment.split("\n\n"):
            lines = paragraph.split("\n")
            items = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
            if before := " ".join(line for line in lines if not line.startswith("- ")):
                yield element("p", self._line(before, service))
            if items:
                yield element("ul", *(element("li", self._line(item, service)) for item in items))

    def _line(self, text: str, service: str) -> Html:
        """A text with its code and its names. Every other part of it is in code."""
        parts = _CODE.split(text)
        return joined(*(code(part) if number % 2 else self._names(part, service) for number, part in enumerate(parts)))

    def _names(self, text: str, service: str) -> Html:
        parts, end = [], 0
        for name in _NAME.finditer(text):
            place = self._places.get(f"{service}.{name[0]}") or self._places.get(name[0])
            if place:
                parts += [text[end : name.start()], link(place, name[0])]
                end = name.end()
        return joined(*parts, text[end:])


def _places(methods: Iterable[MethodDescriptor]) -> dict[str, str]:
    """The anchor of each name that means one element only: of RPCs, messages, enums, their values, and reasons.

    A name without a second capital letter, such as Order, is a word of English as well.
    """
    named = [(method.name, anchor(rpc_name(method))) for method in methods]
    named += [(kind.name, anchor(short(kind))) for kind in (*elements.messages(), *elements.enums())]
    counted = Counter(name for name, _ in named)
    places = {name: place for name, place in named if counted[name] == 1 and not name.istitle()}
    places |= {rpc_name(method): anchor(rpc_name(method)) for method in methods}
    places |= {v.name: f"{anchor(short(enum))}.{v.name}" for enum in elements.enums() for v in enum.values}
    return places | {reason: f"reason.{reason}" for reason in reasons()}


def _uses(methods: Iterable[MethodDescriptor]) -> Iterator[tuple[str, Html]]:
    """Each use of a message or an enum, by its full name."""
    for method in methods:
        for kind, side in ((method.input_type, "request"), (method.output_type, "response")):
            yield kind.full_name, joined(link(anchor(rpc_name(method)), rpc_name(method)), f" ({side})")
    for field in elements.fields(elements.messages()):
        used: Any = field.message_type or field.enum_type
        if used:
            owner: Any = field.containing_type
            yield used.full_name, link(f"{anchor(short(owner))}.{field.name}", f"{owner.name}.{field.name}")
    for subscription in topology.subscriptions():
        for event in subscription.handlers:
            yield event, link(f"subscriber.{subscription.consumer}", subscription.consumer)
