"""The report of a run: what came out of each law, collected while they are tried, printed and written at the end.

A law is kept when all its cases are; one that was never tried says so. A run that made no contact is no proof.
"""

import pickle
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ordersys.contract.topology import event_exchanges, events, publication
from tests import workers
from tests.contract.harness import certificate_output, run_facts
from tests.contract.harness.certificate import (
    BROKEN,
    LEFT_OUT,
    NOT_REACHED,
    RESTART,
    RESULTS,
    SKIPPED,
    Certificate,
    LawResult,
    Sizes,
    Subject,
    reason,
    scrubbed,
)
from tests.contract.harness.client import ORDER, ROLES, publisher
from tests.contract.harness.counterexamples import counterexample
from tests.contract.harness.event_tap import Received
from tests.contract.harness.law_index import Citation, citations, law_of, laws, sentence
from tests.contract.harness.system_under_test import SystemUnderTest


@dataclass
class Verdict:
    """The cases of one law, as they come out."""

    id: str
    sentence: str
    citations: tuple[Citation, ...]
    needs: frozenset[str] = frozenset()
    results: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    counterexample: str = ""
    why: str = ""
    lacking: set[str] = field(default_factory=set)
    means_missing: set[str] = field(default_factory=set)

    def note(self, report: pytest.TestReport) -> None:
        """Notes the result of one case."""
        self.seconds += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.results.append(_result(report))

    def add_failure(self, case: str, error: BaseException) -> None:
        """Adds a case that breaks the law."""
        self.failed.append(case)
        self.counterexample = self.counterexample or counterexample(error)

    def result(self) -> LawResult:
        """The result: the worst of its cases."""
        worst = next((result for result in RESULTS if result in self.results), SKIPPED)
        return LawResult(
            id=self.id,
            sentence=self.sentence,
            citations=self.citations,
            result=worst,
            why=(self.why or NOT_REACHED) if worst == SKIPPED else "",
            cases=sum(result != SKIPPED for result in self.results),
            failed_cases=self.failed,
            seconds=self.seconds,
            counterexample=self.counterexample,
            means_missing=tuple(sorted(self.means_missing)),
        )


class Report:
    """Collects while the laws are tried. A pytest plugin."""

    def __init__(
        self, subject: Subject, sizes: Sizes, known: frozenset[str], files: Collection[str], again: str = ""
    ) -> None:
        """`again` is the command that repeats the run."""
        self._subject = subject
        self._sizes = sizes
        self._known = known
        self._files = [Path(file) for file in files]
        self._laws: dict[str, Verdict] = {}
        self._cases: dict[str, tuple[Verdict, frozenset[str]]] = {}
        self._kept: set[frozenset[str]] = set()
        self._there: set[str] = set()
        self._began = time.monotonic()
        self._no_contact = ""
        self._interrupted_by = ""
        self._again = again
        self._cases_left_out: list[str] = []
        self._hindrances: list[str] = []
        self.systems: list[SystemUnderTest] = []

    def there_is(self, item: pytest.Item, lacking: Collection[str]) -> None:
        """Takes note of a law, whether it is going to be tried or not, and of what it needs and there is not."""
        law = law_of(item)
        self._there.add(law)
        if lacking:
            verdict = self._verdict(law, item)
            verdict.lacking |= set(lacking)  # of all its cases: which of them comes last is chance
            verdict.why = reason(verdict.lacking)
            verdict.means_missing |= set(lacking) if not set(lacking) & set(ROLES) else set()

    def expect(self, item: pytest.Item, needs: frozenset[str]) -> None:
        """Takes note of a law that is going to be tried; one that is known to fail is tried all the same."""
        law = law_of(item)
        verdict = self._verdict(law, item)
        verdict.needs |= needs
        self._cases[item.nodeid] = verdict, needs
        if law in self._known:
            item.add_marker(pytest.mark.xfail(reason="known to fail", strict=False))

    def pytest_deselected(self, items: Collection[pytest.Item]) -> None:
        """Takes note of what somebody left out."""
        self._cases_left_out += [law_of(item) for item in items if item.get_closest_marker("law")]

    def make_no_contact(self, why: str) -> None:
        """Takes note that what is to be judged does not answer."""
        self._no_contact = why

    def hinder(self, item: pytest.Item, why: str) -> None:
        """Takes note that a case can't be judged, for a reason that is not the service's."""
        self._cases[item.nodeid][0].why = why
        if why not in self._hindrances:
            self._hindrances.append(why)

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

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Notes that the run ended early: by Ctrl-C, by pytest.exit, or since tests could not be collected."""
        said = str(excinfo.value)
        self._interrupted_by = said.partition("\n")[0] or type(excinfo.value).__name__

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Notes that the run ended by an error that is not of what is judged."""
        self._interrupted_by = f"an error of the suite, {excinfo.exconly(tryshort=True).splitlines()[-1]}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Writes the files; a run with troubles fails, whatever the laws say.

        One of several workers hands its part over instead, where it has tried laws.
        """
        if workers.is_worker(session.config):
            if self._tried() or self._no_contact:
                output: dict[str, object] = session.config.workeroutput  # type: ignore[attr-defined]
                output[workers.REPORTED] = pickle.dumps(self.certificate())
            return
        if session.exitstatus == pytest.ExitCode.OK and self.troubles():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        certificate_output.write(self.certificate(), self._files)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the laws that were broken, and how, and those that did not apply."""
        if not self._tried():
            return
        terminalreporter.section("the contract")
        for line in certificate_output.lines(self.certificate(), self._files):
            terminalreporter.write_line(line)

    def troubles(self) -> list[str]:
        """Troubles that spoil the run beside broken laws, a sentence each."""
        fixed = [verdict.id for verdict in self._laws.values() if verdict.result().result == "fixed"]
        listed = self._known - self._there
        return [
            *([f"nothing was judged: {self._no_contact}"] if self._no_contact else self._interruption()),
            *(f"a law was not judged: {why}" for why in self._hindrances),
            *(f"{law} is known to fail, and is kept; take it off the list" for law in fixed),
            *(f"{law} is on the list of known failures, and is no law of this suite" for law in sorted(listed)),
            *self._untouched(),
        ]

    def certificate(self) -> Certificate:
        """Everything there is to say, without a secret."""
        whole = Certificate(
            subject=self._subject,
            contract=run_facts.contract(),
            suite=run_facts.suite(),
            machine=run_facts.machine(),
            date=run_facts.now(),
            sizes=self._sizes,
            laws=tuple(sorted((*(verdict.result() for verdict in self._expected()), *self._left_out()), key=_by_id)),
            seconds=time.monotonic() - self._began,
            calls=self._calls(),
            heard=self._received(),
            troubles=tuple(self.troubles()),
            durability=self._durability(),
            interrupted=bool(self._interrupted_by),
            cases_left_out=sum(law in {verdict.id for verdict in self._expected()} for law in self._cases_left_out),
            again=self._again,
        )
        return scrubbed(whole)

    def _verdict(self, law: str, item: pytest.Item) -> Verdict:
        known = Verdict(law, sentence(getattr(item, "function", None)), citations(item.iter_markers()))
        return self._laws.setdefault(law, known)

    def _expected(self) -> list[Verdict]:
        selected = {verdict.id for verdict, _ in self._cases.values()}
        return [verdict for verdict in self._laws.values() if verdict.id in selected]

    def _left_out(self) -> Iterator[LawResult]:
        """The laws of the suite that were not chosen."""
        chosen = {verdict.id for verdict in self._expected()}
        for law in laws():
            if law.id not in chosen:
                yield LawResult(law.id, law.sentence, law.citations, SKIPPED, LEFT_OUT)

    def _durability(self) -> str:
        """The reason why durability was not judged; empty where it was."""
        known = sorted(self._laws.values(), key=lambda verdict: verdict.id)
        about = [verdict for verdict in known if RESTART in verdict.needs]
        if any(verdict.result().cases for verdict in about):
            return ""
        whys = [verdict.why for verdict in about if verdict.id in {v.id for v in self._expected()}]
        own = reason([RESTART])  # what somebody can do about it, where that is all that is wanting
        return own if own in whys else next(filter(None, whys), NOT_REACHED if whys else LEFT_OUT)

    def _tried(self) -> bool:
        return not self._no_contact and any(verdict.results for verdict in self._laws.values())

    def _interruption(self) -> Iterator[str]:
        if self._interrupted_by:
            laws = self._expected()
            tried = sum(bool(verdict.results) for verdict in laws)
            yield f"the run was interrupted ({self._interrupted_by}): {tried} of {len(laws)} laws were tried by then"

    def _untouched(self) -> Iterator[str]:
        """Roles whose laws were kept although nothing was seen of theirs, nor of another they are about."""
        calls, received = self._calls(), self._received()
        seen = self._spoken() | {role for role, count in calls.items() if count}
        for role in ROLES:
            if any(role in needs and not needs & seen for needs in self._kept):
                yield f"no call reached the {role}: its laws prove nothing"
        published = {(to.exchange, publisher(to)) for to in map(publication, events().values())}
        for exchange, role in sorted(published):
            if any({"broker", role} <= needs for needs in self._kept) and not received[exchange]:
                yield f"nothing of the {role} was heard from {exchange}: its laws prove nothing"
        yield from self._unheard()

    def _unheard(self) -> Iterator[str]:
        """An Order Service that has orders, and of which nothing was heard while laws waited for it."""
        waited = any(
            {"broker", ORDER} <= verdict.needs and verdict.result().result == BROKEN for verdict in self._laws.values()
        )
        orders = {order for system in self.systems if ORDER in system.addresses for order in system.client.orders}
        heard = {received.event.order_id for received in self._everything() if received.event}
        if waited and orders and not orders & heard:
            yield (
                f"no event of {ORDER} was heard at all on the broker of --amqp-url: is it connected to another broker?"
            )

    def _calls(self) -> dict[str, int]:
        return {role: sum(system.client.calls[role] for system in self.systems) for role in ROLES}

    def _received(self) -> dict[str, int]:
        everything = self._everything()
        return {e.name: sum(received.exchange == e.name for received in everything) for e in event_exchanges()}

    def _spoken(self) -> set[str]:
        """The roles of which an event was heard."""
        heard = {type(received.event.message) for received in self._everything() if received.event}
        return {publisher(publication(event.DESCRIPTOR)) for event in heard}

    def _everything(self) -> list[Received]:
        return [received for system in self.systems if system.event_tap for received in system.event_tap.everything()]


def known(file: str | None) -> frozenset[str]:
    """The laws a file names, an id a line; what follows a # is a remark."""
    lines = Path(file).read_text(encoding="utf-8").splitlines() if file else []
    return frozenset(law for line in lines if (law := line.partition("#")[0].strip()))


def _by_id(law: LawResult) -> str:
    return law.id


def _result(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "known" if report.skipped else "fixed"
    return str(report.outcome)
