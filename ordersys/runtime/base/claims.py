r"""Names in tokens as settings write them: claims, types, roles. Each is read once, before anything starts.

A claim is named by its path. A dot leads into an object: `realm_access.roles`. A dot that belongs to a name has a
backslash before it, as in Keycloak's mappers (`https://shop\.example/roles`), and so has a backslash.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAMES = re.compile(r"((?:[^.\\]|\\[.\\])+)(?:\.|$)")
_WHOLE = re.compile(r"(?:[^.\\]|\\[.\\])+(?:\.(?:[^.\\]|\\[.\\])+)*")
_ESCAPED = re.compile(r"\\(.)")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*")  # RFC 6838, 4.2
_LONG_TYPE = "application/"


@dataclass(frozen=True)
class ClaimPath:
    """The place of a claim. `str()` is the path as it was written."""

    names: tuple[str, ...]
    written: str

    def value(self, claims: Mapping[str, object], missing: object) -> object:
        """The value of the claim, `missing` where there is none."""
        value: object = claims
        for name in self.names:
            if not isinstance(value, dict) or name not in value:
                return missing
            value = value[name]
        return value

    def __str__(self) -> str:
        return self.written


def path(text: str) -> ClaimPath:
    """The path that `text` is. Raises ValueError with what it must be."""
    if not text.isprintable() or not _WHOLE.fullmatch(text):
        raise ValueError(r"the name of a claim, or a path with dots between names; a dot within a name is \.")
    return ClaimPath(tuple(_ESCAPED.sub(r"\1", name) for name in _NAMES.findall(text)), text)


def types(text: str) -> frozenset[str]:
    """The types in `text`, separated by commas, in lower case and without `application/`. Raises ValueError."""
    names = frozenset(type_name(name.strip()) for name in text.split(","))
    if not all(map(_TYPE.fullmatch, names)):
        raise ValueError("types of tokens with commas between them, such as at+jwt,JWT")
    return names


def type_name(text: str) -> str:
    """A type as types are compared: in lower case, `application/` may be left out (RFC 7515, 4.1.9)."""
    return text.lower().removeprefix(_LONG_TYPE)


def word(text: str) -> str:
    """The word that `text` is. Raises ValueError with what it must be."""
    if not text.isprintable() or " " in text:
        raise ValueError("one word without blanks")
    return text
