"""HTML and SVG as values: what is no markup yet is escaped where it is put in, and nowhere else."""

from html import escape
from typing import TypeAlias

Attribute: TypeAlias = "str | int | float | bool | None"
_VOID = frozenset({"br", "input", "link", "meta"})  # those of HTML; one of SVG has to be closed

_LONG = 44  # letters; the longest names of rules and queues have fewer


class Html(str):
    """Markup. Each other text is escaped by `element`."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: Attribute) -> Html:
    """An element. `class_` is the attribute class, `aria_label` aria-label; None and False leave an attribute out."""
    opening = f"<{tag}{''.join(_attribute(name, value) for name, value in attributes.items())}>"
    return Html(opening if tag in _VOID else f"{opening}{joined(*children)}</{tag}>")


def joined(*parts: str) -> Html:
    """These parts, one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def separated(separator: str, parts: list[Html]) -> Html:
    """These parts with a text between them."""
    return Html(escape(separator).join(parts))


def code(text: str) -> Html:
    """A text as it stands in code. Only a long one may be broken within a line: a name is read in one piece."""
    return element("code", text, class_="long" if len(text) > _LONG else None)


def link(anchor: str, *children: str, class_: str | None = None) -> Html:
    """A link to an element of this page."""
    return element("a", *children, href=f"#{anchor}", class_=class_)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{escape(str(value))}"'
