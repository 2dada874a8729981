"""Mutants that tests of ours judge, since no law of the contract speaks of what they break, such as metrics and traces.

The tests run in a copy of the source in which the edits are made: their own process is broken, and whatever it starts.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.mutants.mutant import Edit
from tests.mutants.suite import Failure, Judgement, NoVerdict, run

ROOT = Path(__file__).parents[2]
_COPIED = ("buf", "contract", "deploy", "docs", "ordersys", "proto", "tests", "tools")
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--seed=1")
_UNTRIED = ("error", "skipped")
_SHOWN = 300


def judge(edits: Sequence[Edit], tests: Sequence[str]) -> Judgement:
    """Runs the tests of these ids on the source with these edits. Raises NoVerdict where one could not be tried."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as text:
        folder = Path(text)
        junit = folder / "report.xml"
        with _copy(edits, folder / "source") as source:
            said = run([*_PYTEST, f"--junitxml={junit}", f"--basetemp={folder}/pytest", *tests], source)
        cases = list(ElementTree.parse(junit).iter("testcase")) if junit.exists() else []  # noqa: S314 - pytest's own
        return judgement(tests[0], cases, said)


def judgement(test: str, cases: Sequence[Element], said: str) -> Judgement:
    """Reads what became of `test`, or of several of which it is the first; `said` is what pytest has written."""
    failures = tuple(failure.get("message", "") for case in cases for failure in case.iter("failure"))
    if failures:
        return Judgement((Failure(test, failures),), len(cases) - len(failures))
    untried = [each.get("message", kind) for case in cases for kind in _UNTRIED for each in case.iter(kind)]
    if untried or not cases:
        why = untried[0] if untried else said
        raise NoVerdict(f"{test} could not be tried: {' '.join(why.split())[-_SHOWN:]}")
    return Judgement((), len(cases))


@contextmanager
def _copy(edits: Sequence[Edit], folder: Path) -> Iterator[Path]:
    """The source with the edits made. Bytecode comes along: it is that of each file which keeps its time."""
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for edit in edits:
        file = folder / edit.path
        file.write_text(edit.make(file.read_text(encoding="utf-8")), encoding="utf-8")
    yield folder
