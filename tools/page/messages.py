"""Messages, enums and rules on the page: fields, users, examples."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from tools.documents import elements
from tools.documents.elements import anchor, short
from tools.page.examples import examples, json_text
from tools.page.layout import entry, folded, row, table_of, titled
from tools.page.markup import Html, code, element, joined, link, separated
from tools.page.references import References


def message_part(kind: Descriptor, references: References, tag: str, *before: Html) -> Html:
    """A message with its heading; `before` stands in front of its name, which is the short one then."""
    place = anchor(short(kind))
    name = kind.name if before else short(kind)
    return entry(
        "section", "message", short(kind), place, titled(tag, name, place, *before), *message_inside(kind, references)
    )


def message_inside(kind: Descriptor, references: References) -> Iterator[Html]:
    """The comment of a message, its fields, the rules between them, its users, and examples."""
    yield references.text(kind.full_name)
    yield table_of(("no.", "field", "type", "rules", "meaning"), (_field(field, references) for field in kind.fields))
    if of_all := elements.rules(kind):
        yield element("div", "As a whole: ", _rules(of_all))
    for oneof, has_to_be in elements.choices(kind):
        names = separated(", ", [code(field.name) for field in oneof.fields])
        yield element("p", "Of ", names, " one is set." if has_to_be else " at most one is set.")
    yield _users(kind, references)
    for message in examples(kind):
        chosen = [f"with {message.WhichOneof(oneof.name)}" for oneof, _ in elements.choices(kind)]
        yield folded(" ".join(["Example", *chosen]), json_text(message))


def _users(kind: Any, references: References) -> Html:
    return element("p", "Used by ", separated(", ", references.users(kind)), class_="users")


def _field(field: FieldDescriptor, references: References) -> Html:
    place = f"{anchor(short(field.containing_type))}.{field.name}"
    kind: Any = field.message_type or field.enum_type
    label = elements.label(field)
    cells = (
        str(field.number),
        link(place, code(field.name)),
        joined(f"{label} " if label else "", type_link(kind) if kind else code(elements.scalar(field.type))),
        joined(_rules(elements.rules(field)), _set_by(field)),
        references.line(field.full_name),
    )
    return row("field", f"{short(field.containing_type)}.{field.name}", place, cells)


def _set_by(field: FieldDescriptor) -> Html:
    roles = ", ".join(elements.setters(field))
    return element("div", f"set only by {roles}") if roles else Html()


def type_link(kind: Any) -> Html:
    """The name of a message or an enum, which leads to it where it is one of the contract."""
    return link(anchor(short(kind)), code(kind.name)) if elements.is_own(kind) else code(kind.full_name)


def _rules(rules: Mapping[str, Any]) -> Html:
    added = {name for _, name, _ in elements.predefined()}
    lines = []
    for name, value in rules.items():
        ruled = link(f"rule.{name}", code(name)) if name in added else code(name)
        values = value if isinstance(value, tuple) else () if value is True else (value,)
        shown = separated(", ", [code(str(part)) for part in values])
        lines.append(element("div", ruled, " " if shown else "", shown))
    return joined(*lines)


def enum_part(enum: EnumDescriptor, references: References) -> Html:
    """An enum with its values and its users."""
    place = anchor(short(enum))
    rows = [
        row(
            "enum value",
            value.name,
            f"{place}.{value.name}",
            (str(value.number), code(value.name), references.line(f"{enum.full_name}.{value.name}")),
        )
        for value in enum.values
    ]
    heading = titled("h3", short(enum), place)
    table = table_of(("no.", "value", "meaning"), rows)
    about = references.text(enum.full_name)
    return entry("section", "enum", short(enum), place, heading, about, table, _users(enum, references))


def rules_table(references: References) -> Html:
    """The rules that the contract adds to those of protovalidate."""
    rows = [
        row("rule", name, f"rule.{name}", (code(name), references.line(rule.full_name), code(cel) if cel else ""))
        for rule, name, cel in elements.predefined()
    ]
    return table_of(("rule", "meaning", "in CEL"), rows)
