"""The contract suite, run against one implementation: in a process of its own, with an end."""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import psutil

from tests import virtual_host
from tests.contract.harness.law_index import law_id
from tests.mutants.mutant import ALL, SERVICES, Mutant
from tests.running import addresses

SUITE = "tests/contract"
# What does not come within this time does not come; the unbroken implementation is held to it too.
_PATIENCE_SECONDS = 10
_RUN_SECONDS = 600.0
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
    "--quick",
    "--no-shrink",
    "--seed=1",
)


class NoVerdict(Exception):
    """The suite judged nothing; the text says why."""


class Scope(NamedTuple):
    """The part of the suite that is run: which tests, and after how many failures it ends (0: never)."""

    tests: str = SUITE
    enough: int = 0


class Judgement(NamedTuple):
    """The judgement of the suite: the ids of the laws that were broken, and how many were kept."""

    broken: tuple[str, ...]
    kept: int


def judge(mutant: Mutant | None, amqp_url: str, scope: Scope) -> Judgement:
    """Runs the suite against a mutant, or the unbroken implementation, on a broker of its own. Raises NoVerdict."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder, _judged(mutant, amqp_url, Path(folder)) as options:
        report = Path(folder) / "report.xml"
        limits = [f"--maxfail={scope.enough}", f"--patience={_PATIENCE_SECONDS}", f"--basetemp={folder}/pytest"]
        said = _run([*_PYTEST, scope.tests, *limits, f"--amqp-url={amqp_url}", f"--junitxml={report}", *options])
        if not report.exists():
            raise NoVerdict(f"the suite ended early: {' '.join(said.split())[-_SHOWN:]}")
        return judgement(report.read_text(encoding="utf-8"))


def judgement(report: str) -> Judgement:
    """Read the judgement from a report of pytest, in JUnit's format.

    Raises NoVerdict when no law was broken and some could not be tried: a service that does not even start proves
    nothing.
    """
    cases = list(ElementTree.fromstring(report).iter("testcase"))  # noqa: S314 - pytest wrote it for us
    ended = {kind: dict.fromkeys(_law(case) for case in cases if case.find(kind) is not None) for kind in _ENDS}
    broken = ended["failure"]
    if not broken and (untried := ended["error"]):
        raise NoVerdict(f"{len(untried)} laws could not be tried, {next(iter(untried))} first; does it start?")
    return Judgement(tuple(broken), len({_law(case) for case in cases if not len(case)} - broken.keys()))


def _law(case: Element) -> str:
    """tests.contract.laws.messaging.test_events, test_x[with this] -> events/x."""
    return law_id(case.attrib["classname"], case.attrib["name"].partition("[")[0])


@contextmanager
def _judged(mutant: Mutant | None, amqp_url: str, folder: Path) -> Iterator[Sequence[str]]:
    """The options that tell the suite whom to judge."""
    if mutant is None:
        yield ()
    elif mutant.service == ALL:
        with virtual_host.emptied(amqp_url), _system(mutant, amqp_url, folder / "system") as said:
            yield [f"--{role}={said[f'ORDERSYS_{_module(role).upper()}_ADDRESS']}" for role in SERVICES]
    else:
        yield _programs(mutant)


@contextmanager
def _system(mutant: Mutant, amqp_url: str, folder: Path) -> Iterator[dict[str, str]]:
    """A system in which everybody is broken, whoever starts it included; its addresses."""
    command = [*_command(mutant, "local"), "--plain", "--data-dir", str(folder), "--amqp-url", amqp_url]
    with subprocess.Popen(
        [*command, *_programs(mutant)], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield addresses(process)
        finally:
            process.terminate()


def _programs(mutant: Mutant) -> list[str]:
    return [f"--program={role}={shlex.join(_command(mutant, _module(role)))}" for role in mutant.services]


def _command(mutant: Mutant, module: str) -> list[str]:
    return [sys.executable, "-m", "tests.mutants.run", mutant.name, module]


def _module(role: str) -> str:
    return role.replace("-", "_")


def _run(arguments: Sequence[str]) -> str:
    """Runs Python with these arguments to its end; what it said. Raises NoVerdict when the end does not come."""
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=_RUN_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise NoVerdict(f"the suite was not done after {_RUN_SECONDS:.0f} s") from error
        finally:
            if process.poll() is None:
                _end(process)
    return said


def _end(process: "subprocess.Popen[str]") -> None:
    """Kills it, and ends in good order what it started: systems, which end what they started."""
    started = psutil.Process(process.pid).children()
    process.kill()
    for child in started:
        child.terminate()
    psutil.wait_procs(started, _END_SECONDS)
