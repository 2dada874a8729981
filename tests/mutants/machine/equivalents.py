"""The list of mutations that are equivalent: nobody can tell them from the whole implementation."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_FILE = Path(__file__).parent / "equivalents.toml"


class Equivalent(NamedTuple):
    """A mutation, as people read about it, and why nothing on the wire differs."""

    where: str
    change: str
    reason: str


EQUIVALENTS: Mapping[str, Equivalent] = {
    mutation: Equivalent(**row) for mutation, row in tomllib.loads(_FILE.read_text(encoding="utf-8")).items()
}
"""By id."""
