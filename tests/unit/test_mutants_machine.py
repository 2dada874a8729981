"""Mutations by machine: each operator changes one place, and is found again by its id wherever that place goes."""

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.contract.harness.law_index import laws
from tests.mutants.machine import mutation as mutation_module
from tests.mutants.machine.equivalents import EQUIVALENTS
from tests.mutants.machine.modules import MODULES
from tests.mutants.machine.mutation import Mutation, find, is_name, mutations
from tests.mutants.machine.summary import summary
from tests.mutants.mutant import SERVICES
from tests.mutants.verdict import Outcome, Verdict

HEAD = "def f(a, b, c, d):\n"


Made: TypeAlias = Callable[[str], tuple[Mutation, ...]]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A function: the mutations of a module with a text."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text: str) -> tuple[Mutation, ...]:
        (tmp_path / "mutated_here.py").write_text(text, encoding="utf-8")
        sys.modules.pop("mutated_here", None)
        mutation_module.mutations.cache_clear()
        mutation_module.source_of.cache_clear()
        return mutations("mutated_here")

    return make


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("x = a < b", {"x = a <= b"}),
        ("x = 0 <= a < b", {"x = 0 < a < b", "x = 0 <= a <= b", "x = 1 <= a < b"}),
        ("x = (a) not in (b)", {"x = (a) in (b)"}),
        ("x = a is not None", {"x = a is None"}),
        ("x = a and b or c", {"x = a or b or c", "x = a and b and c"}),
        ("x = not (a or b)", {"x = (a or b)", "x = not (a and b)"}),
        ("x = 'ä' + a - b", {"x = 'ä' - a - b", "x = 'ä' + a + b"}),
        (
            "x = [True, 3, 1, 1.5]",
            {"x = [False, 3, 1, 1.5]", "x = [True, 4, 1, 1.5]", "x = [True, 3, 2, 1.5]", "x = [True, 3, 0, 1.5]"},
        ),
        ("if a: b.c()", {"if True: b.c()", "if False: b.c()", "if a: pass"}),
        ("x = [y for y in a if y]", {"x = [y for y in a if True]"}),
        ("return a", {"return None"}),
        ("return None", set()),
        ("a.b = c", {"pass"}),
        ("a += b", {"a -= b", "pass"}),
        ("del a[b]", {"pass"}),
        ("await a(b)", {"pass"}),
        ("x = a(b, c)", {"x = a(c, b)"}),
        ("x = min(b, c)", set()),
        ("x = a(b, c=d)", {"x = a(b)"}),
        ("x = a(c=d)", {"x = a()"}),
        ("x = a(b=b, c=c)", {"x = a(c=c)", "x = a(b=b)"}),
        ("x = zip(b, c, strict=True)", {"x = zip(c, b, strict=True)"}),
        ("x = a.where(b).limit(c)", {"x = a.limit(c)", "x = a.where(b)"}),
        ("x = a.where(b, c)", {"x = a", "x = a.where(c)", "x = a.where(b)", "x = a.where(c, b)"}),
        ("x = a.order_by(b.c.desc())", {"x = a", "x = a.order_by(b.c)"}),
        ("x = a.is_not(None)", {"x = a.is_(None)"}),
        ("_log.info(a, b < c)", set()),
        ("failpoint(a)", set()),
        ("x: list[a < b] = c", set()),
    ],
)
def test_the_operators(made: Made, statement: str, expected: set[str]) -> None:
    """Each change is one of one place, and is Python again."""
    text = f"async {HEAD}    {statement}\n"
    changes = {m.make(text).splitlines()[-1].strip() for m in made(text)}
    assert changes == expected


@pytest.mark.parametrize("name", ["seed", "upgrade", "purge"])
def test_functions_for_another_day_are_left_alone(made: Made, name: str) -> None:
    """No run of the suite sees them do anything."""
    assert made(f"def {name}(a):\n    a.b = 1\n    return a\n") == ()


def test_a_mutation_is_found_by_its_id_wherever_its_function_goes(made: Made) -> None:
    """Lines above it do not matter; another text of its statement makes another one."""
    (before,) = made(f"{HEAD}    x = a < b\n")
    (after,) = made(f"Y = 'y'\n\n\n{HEAD}    z = c\n    x = a < b\n")
    (other,) = made(f"{HEAD}    w = a < b\n")
    assert after.id == before.id != other.id
    assert find(other.name) == other
    assert (other.where, other.change) == ("mutated_here f", "< → <=, in: w = a < b")


def test_equal_places_are_told_apart(made: Made) -> None:
    """By which of them it is."""
    changes = made(f"{HEAD}    x = a < b, a < b\n    x = a < b, a < b\n")
    assert len({m.id for m in changes}) == 4


def test_a_name_says_that_it_is_a_mutation() -> None:
    """And not one of the catalogue."""
    assert is_name("ordersys.contract.money:00000000")
    assert not is_name("total-loses-its-cents")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_mutated_has_mutations_of_which_each_is_another_module(module: str) -> None:
    """All have ids of their own, and services to be judged with."""
    changes = mutations(module)
    source = mutation_module.source_of(module)
    assert changes
    assert len({m.id for m in changes}) == len(changes)
    assert all(m.make(source) != source for m in changes)
    assert MODULES[module]
    assert set(MODULES[module]) <= set(SERVICES)
    ast.parse(changes[-1].make(source))


def test_what_is_listed_as_equivalent_is_a_mutation_of_today() -> None:
    """As it is written there; each with a reason."""
    every = {m.id: m for module in MODULES for m in mutations(module)}
    for name, equivalent in EQUIVALENTS.items():
        assert name in every, f"{name} ({equivalent.where}: {equivalent.change}) is no mutation any more"
        assert (every[name].where, every[name].change) == (equivalent.where, equivalent.change)
        assert equivalent.reason[0].isupper()
        assert equivalent.reason.endswith(".")


def test_the_summary_shows_what_survived_and_the_score(made: Made) -> None:
    """Those that do not start are counted apart, those the watchdog ended by name."""
    changes = made(f"{HEAD}    x = 0 <= a < b\n    return x\n")
    verdicts = [
        Verdict(Outcome.KILLED, (next(laws()).id,)),
        Verdict(Outcome.SURVIVED, kept=9),
        Verdict(Outcome.NO_START, said="it ends with status 1"),
        Verdict(Outcome.WATCHDOG, said="the suite was not done after 600 s"),
    ]
    assert summary(list(zip(changes, verdicts, strict=True)), 3).splitlines() == [
        f"{changes[1].id}  mutated_here f: SURVIVED: all 9 laws kept",
        "--- mutated_here.py",
        "+++ mutated_here.py",
        "@@ -1,3 +1,3 @@",
        " def f(a, b, c, d):",
        "-    x = 0 <= a < b",
        "+    x = 0 <= a <= b",
        "     return x",
        "",
        "mutated_here  2 of 3",
        "",
        "killed 2 of 3 that start and are not equivalent",
        "killed by the watchdog: 1",
        "does not start: 1",
        "equivalent, and not tried: 3",
    ]
