"""The report of a run, law by law: printed at its end, and written as JSON for programs.

A law is kept when all its cases are; one that was never tried says so. A run that made no contact is no proof.
"""

import json
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ordersys.contract.topology import events, publication, topology
from tests import workers
from tests.contract.harness.client import ROLES, publisher
from tests.contract.harness.law_index import law_id, sentence
from tests.contract.harness.system_under_test import SystemUnderTest

# The worst of its cases is what a law comes to.
_RESULTS = ("failed", "known", "fixed", "passed", "skipped")
_SHOWN_LINES = 12
_SHOWN_LETTERS = 160


@dataclass
class Verdict:
    """The result of one law."""

    id: str
    sentence: str
    results: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    counterexample: str = ""

    @property
    def result(self) -> str:
        """Failed, known (to fail), fixed (known to fail, and does not), passed or skipped (does not apply)."""
        return next((result for result in _RESULTS if result in self.results), "skipped")

    def note(self, report: pytest.TestReport) -> None:
        """Notes the result of one case."""
        self.seconds += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.results.append(_result(report))

    def add_failure(self, case: str, error: BaseException) -> None:
        """Adds a case that breaks the law."""
        self.failed.append(case)
        self.counterexample = self.counterexample or counterexample(error)

    def lines(self) -> Iterator[str]:
        """The lines about a broken law, for people."""
        yield f"BROKEN {self.id}"
        yield f"  the law: {self.sentence}"
        if any(self.failed):
            yield f"  for: {', '.join(self.failed)}"
        yield from (f"  {line[:_SHOWN_LETTERS]}" for line in _shortened(self.counterexample.splitlines()))


class Report:
    """Collects while the laws are tried. A pytest plugin."""

    def __init__(self, judged: Mapping[str, str], known: frozenset[str], file: str | None) -> None:
        self._judged = judged
        self._known = known
        self._file = file
        self._laws: dict[str, Verdict] = {}
        self._cases: dict[str, tuple[Verdict, frozenset[str]]] = {}
        self._kept: set[frozenset[str]] = set()
        self._there: set[str] = set()
        self._began = time.monotonic()
        self.systems: list[SystemUnderTest] = []

    def there_is(self, item: pytest.Item) -> None:
        """Takes note of a law, whether it is going to be tried or not."""
        self._there.add(_id(item))

    def leave_out(self, item: pytest.Item, lacking: set[str]) -> None:
        pass

    def expect(self, item: pytest.Item, needs: frozenset[str]) -> None:
        """Takes note of a law that is going to be tried; one that is known to fail is tried all the same."""
        law = _id(item)
        self._laws.setdefault(law, Verdict(law, sentence(getattr(item, "function", None))))
        self._cases[item.nodeid] = self._laws[law], needs
        if law in self._known:
            item.add_marker(pytest.mark.xfail(reason="known to fail", strict=False))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes the result of one case."""
        if report.nodeid in self._cases:
            verdict, needs = self._cases[report.nodeid]
            verdict.note(report)
            if report.when == "call" and report.passed:
                self._kept.add(needs)

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Notes the counterexample of a broken law."""
        skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
        if call.excinfo is not None and not skipped and item.nodeid in self._cases:
            self._cases[item.nodeid][0].add_failure(item.name.partition("[")[2].rstrip("]"), call.excinfo.value)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Writes the file; a run with troubles fails, whatever the laws say.

        Of several workers one has tried the laws; it hands over what the run is going to tell.
        """
        if workers.is_worker(session.config):
            if not self._tried():
                return
            output: dict[str, object] = session.config.workeroutput  # type: ignore[attr-defined]
            output[workers.REPORTED] = [*self._lines()], self.troubles()
        if session.exitstatus == pytest.ExitCode.OK and self.troubles():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._file:
            Path(self._file).write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the laws that were broken, and how, and those that did not apply."""
        if not self._tried():
            return
        terminalreporter.section("the contract")
        for line in self._lines():
            terminalreporter.write_line(line)

    def troubles(self) -> list[str]:
        """Troubles that spoil the run beside broken laws, a sentence each."""
        fixed = [verdict.id for verdict in self._with("fixed")]
        listed = self._known - self._there
        return [
            *(f"{law} is known to fail, and is kept; take it off the list" for law in fixed),
            *(f"{law} is on the list of known failures, and is no law of this suite" for law in sorted(listed)),
            *self._untouched(),
        ]

    def as_json(self) -> dict[str, Any]:
        """An entry a law, and the summary."""
        return {
            "judged": dict(self._judged),
            "laws": [
                {
                    "id": verdict.id,
                    "sentence": verdict.sentence,
                    "result": verdict.result,
                    "cases": len(verdict.results),
                    "failed_cases": verdict.failed,
                    "seconds": round(verdict.seconds, 3),
                    "counterexample": verdict.counterexample,
                }
                for verdict in self._laws.values()
            ],
            "summary": {
                **{result: len(self._with(result)) for result in _RESULTS},
                "seconds": round(time.monotonic() - self._began, 3),
                "calls": self._calls(),
                "heard": self._received(),
                "troubles": self.troubles(),
                "ok": not self._with("failed") and not self.troubles(),
            },
        }

    def _tried(self) -> bool:
        return any(verdict.results for verdict in self._laws.values())

    def _with(self, result: str) -> list[Verdict]:
        return [verdict for verdict in self._laws.values() if verdict.result == result]

    def _lines(self) -> Iterator[str]:
        judged = [f"{role} at {address}" for role, address in self._judged.items()]
        yield f"judged: {', '.join(judged) or 'our own services'}"
        for verdict in self._with("failed"):
            yield ""
            yield from verdict.lines()
        yield from (f"\nTROUBLE {trouble}" for trouble in self.troubles())
        if skipped := self._with("skipped"):
            yield f"\ndo not apply here: {', '.join(verdict.id for verdict in skipped)}"
        tried = [v for v in self._laws.values() if v.result != "skipped"]
        yield f"\n{len(tried)} laws tried: {len(self._with('passed'))} kept, {len(self._with('failed'))} broken"

    def _untouched(self) -> Iterator[str]:
        """Roles whose laws were kept although no call or event of theirs was seen."""
        calls, received = self._calls(), self._received()
        for role in ROLES:
            if any(role in needs for needs in self._kept) and not calls.get(role):
                yield f"no call reached the {role}: its laws prove nothing"
        published = {(to.exchange, publisher(to)) for to in map(publication, events().values())}
        for exchange, role in sorted(published):
            if any({"broker", role} <= needs for needs in self._kept) and not received[exchange]:
                yield f"nothing of the {role} was heard from {exchange}: its laws prove nothing"

    def _calls(self) -> dict[str, int]:
        return {role: sum(system.client.calls[role] for system in self.systems) for role in ROLES}

    def _received(self) -> dict[str, int]:
        everything = [
            received for system in self.systems if system.event_tap for received in system.event_tap.everything()
        ]
        return {e.name: sum(received.exchange == e.name for received in everything) for e in topology().exchanges}


def known(file: str | None) -> frozenset[str]:
    """The laws a file names, an id a line; what follows a # is a remark."""
    if not file:
        return frozenset()
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise pytest.UsageError(f"--known-failures {file}: {error.strerror}") from error
    return frozenset(law for line in lines if (law := line.partition("#")[0].strip()))


def _id(item: pytest.Item) -> str:
    function: Any = getattr(item, "function", None)
    return law_id(function.__module__, function.__name__)


def _result(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "known" if report.skipped else "fixed"
    return str(report.outcome)


def counterexample(error: BaseException) -> str:
    """The counterexample, as small as it could be made; the first, where there are several."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return "".join(traceback.format_exception_only(error)).strip()


def _shortened(lines: list[str]) -> list[str]:
    """The beginning and the end: what differs, and for which example."""
    if len(lines) <= 2 * _SHOWN_LINES:
        return lines
    return [*lines[:_SHOWN_LINES], "…", *lines[-_SHOWN_LINES:]]
