"""The contract suite, run against one implementation: in a process of its own, with an end."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event
from typing import NamedTuple, TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import psutil

from tests.contract.harness.law_index import law_id

SUITE = "tests/contract"
RUN_SECONDS = 600.0
# What does not come within this time does not come; the unbroken implementation is held to it too.
_PATIENCE_SECONDS = 10
_LOOK_SECONDS = 1.0
_END_SECONDS = 60.0
_SHOWN = 300
_ENDS = ("failure", "error")
_PYTEST = (
    "-m",
    "pytest",
    "-q",
    "-m",
    "law",
    "-p",
    "no:cacheprovider",
    "-p",
    "tests.mutants.first",
    "--quick",
    "--no-shrink",
    "--seed=1",
)

Judged: TypeAlias = Callable[[str, Path], AbstractContextManager[Sequence[str]]]
"""Runs what is judged, given the URL of a broker and a folder; the options that tell the suite whom to judge."""


interrupted = Event()
"""Set when the process is told to end: no suite is waited for any more."""


class NoVerdict(Exception):
    """The suite judged nothing; the text says why."""


class Endless(NoVerdict):
    """The suite was ended by its watchdog, since it did not come to an end by itself."""


class Scope(NamedTuple):
    """The part of the suite that is run: which tests, after how many failures it ends (0: never), and who is first."""

    tests: str = SUITE
    enough: int = 0
    first: Sequence[str] = ()
    """The ids of the laws that are tried before the others, in that order."""


class Failure(NamedTuple):
    """A law that was broken, and the examples that break it: one for each case of it that failed."""

    law: str
    counterexamples: tuple[str, ...]


class Judgement(NamedTuple):
    """The judgement of the suite: the laws that were broken, and how many were kept."""

    broken: tuple[Failure, ...]
    kept: int


def judge(judged: Judged, amqp_url: str, scope: Scope) -> Judgement:
    """Runs the suite on a broker of its own. Raises NoVerdict, and what `judged` raises."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as text:
        folder = Path(text)
        with judged(amqp_url, folder) as options:
            junit, report = folder / "report.xml", folder / "report.json"
            limits = [f"--maxfail={scope.enough}", f"--patience={_PATIENCE_SECONDS}", f"--basetemp={folder}/pytest"]
            reports = [f"--junitxml={junit}", f"--report={report}"]
            first = [f"--first={law}" for law in scope.first]
            # Options that come later replace earlier ones of the same name.
            said = run([*_PYTEST, scope.tests, *limits, *first, *reports, *options])
            if not junit.exists() or not report.exists() or "<testcase" not in junit.read_text(encoding="utf-8"):
                raise NoVerdict(f"the suite ended early: {' '.join(said.split())[-_SHOWN:]}")
            return judgement(junit.read_text(encoding="utf-8"), counterexamples(report.read_text(encoding="utf-8")))


def judgement(junit: str, examples: Mapping[str, str]) -> Judgement:
    """Read the judgement from pytest's report in JUnit's format; `examples` are those of the suite's own, by law.

    That has the first of each law only, but also where several were found at once.

    Raises NoVerdict when no law was broken and some could not be tried: a service that does not even start proves
    nothing.
    """
    cases = list(ElementTree.fromstring(junit).iter("testcase"))  # noqa: S314 - pytest wrote it for us
    ended = {kind: dict.fromkeys(_law(case) for case in cases if case.find(kind) is not None) for kind in _ENDS}
    broken = ended["failure"]
    if not broken and (untried := ended["error"]):
        why = next(error.attrib.get("message", "") for case in cases for error in case.iter("error"))
        shown = " ".join(why.split())[:_SHOWN]
        raise NoVerdict(f"{len(untried)} laws could not be tried, {next(iter(untried))} first: {shown}")
    kept = {_law(case) for case in cases if not len(case)} - broken.keys()
    return Judgement(tuple(Failure(law, _counterexamples(law, cases, examples)) for law in broken), len(kept))


def counterexamples(report: str) -> dict[str, str]:
    """The counterexamples in the suite's own report, by the ids of the laws."""
    return {law["id"]: law["counterexample"] for law in json.loads(report)["laws"]}


def _counterexamples(law: str, cases: Sequence[Element], examples: Mapping[str, str]) -> tuple[str, ...]:
    failures = [failure for case in cases if _law(case) == law for failure in case.iter("failure")]
    texts = [examples.get(law, ""), *(failure.attrib.get("message", "") for failure in failures)]
    return tuple(dict.fromkeys(example for example in texts if example))


def _law(case: Element) -> str:
    """tests.contract.laws.messaging.test_events, test_x[with this] -> events/x."""
    return law_id(case.attrib["classname"], case.attrib["name"].partition("[")[0])


def run(arguments: Sequence[str], folder: Path | None = None) -> str:
    """Runs Python with these arguments, in `folder`, to its end; what it said. Raises Endless where there is none."""
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            return _output(process)
        finally:
            if process.poll() is None:
                _end(process)


def _output(process: "subprocess.Popen[str]") -> str:
    """Waits for the end of a process; all it said. Raises Endless, and NoVerdict where nobody waits any more."""
    until = time.monotonic() + RUN_SECONDS
    while time.monotonic() < until:
        try:
            said, _ = process.communicate(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if interrupted.is_set():
                raise NoVerdict("interrupted") from None
        else:
            return said
    raise Endless(f"the suite was not done after {RUN_SECONDS:.0f} s")


def _end(process: "subprocess.Popen[str]") -> None:
    """Kills it, and ends in good order what it started: systems, which end what they started."""
    started = psutil.Process(process.pid).children()
    process.kill()
    for child in started:
        child.terminate()
    psutil.wait_procs(started, _END_SECONDS)
