"""Every mutant, a folder for each theme: a sentence about what is broken, and the diff that breaks it."""

from pathlib import Path

from tests.mutants.mutant import Mutant, read

_FILES = sorted(Path(__file__).parent.glob("*/*.diff"))
MUTANTS: dict[str, Mutant] = {file.stem: read(file.stem, file.read_text(encoding="utf-8")) for file in _FILES}
"""By name."""
