"""The report of a run whose laws several processes have tried: one certificate of what each of them hands over."""

import pickle
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from tests.contract.harness import certificate_output
from tests.contract.harness.certificate import joined


class JoinedReport:
    """A certificate, and the files it is to be written to."""

    def __init__(self, parts: Sequence[bytes], lost: Collection[str], files: Collection[str]) -> None:
        """Takes the pickled certificate of each process, and the names of those that did not come to their end."""
        self._certificate = joined([pickle.loads(part) for part in parts], lost)  # noqa: S301 - of our own processes
        self._files = [Path(file) for file in files]

    @property
    def troubles(self) -> Sequence[str]:
        """Troubles that spoil the run beside broken laws, a sentence each."""
        return self._certificate.troubles

    def write(self) -> None:
        """Writes the files, each as a whole. Raises OSError."""
        certificate_output.write(self._certificate, self._files)

    def print(self, terminal: pytest.TerminalReporter) -> None:
        """Prints the laws that were broken, and how, and those that did not apply."""
        terminal.section("the contract")
        for line in certificate_output.lines(self._certificate, self._files):
            terminal.write_line(line)
