"""The mutants are what they say: one small change each, where the text still is, in a service that loads it."""

import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import pytest
from google.type.money_pb2 import Money

from ordersys import contract
from ordersys.api.order.v1.order_pb2 import OrderItem
from ordersys.contract import money
from tests.contract.harness.law_index import laws
from tests.mutants import catalogue
from tests.mutants.catalogue import MUTANTS
from tests.mutants.machine.mutation import mutations
from tests.mutants.mutant import ALL, PRODUCT, SERVICES, Edit, Malformed, Moved, Mutant, read
from tests.mutants.run import Finder
from tests.mutants.tested import ROOT

every_mutant = pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
LAWFUL = {name: mutant for name, mutant in MUTANTS.items() if not mutant.is_tested}
every_mutant_of_a_law = pytest.mark.parametrize("mutant", LAWFUL.values(), ids=list(LAWFUL))
LAWS = {law.id: law for law in laws()}
SHARED = {f"ordersys.runtime.storage.postgresql_{part}" for part in ("connection", "database", "schema")}
"""Loaded by a service whose state is in a PostgreSQL."""
KNOWN = {
    f"ordersys.runtime.identity.{part}"
    for part in ("certificates", "fetched_keys", "key_sets", "profile", "tokens", "watched")
}
"""Loaded by a service that has an identity."""
GIVEN = frozenset({"broker", "proxy", "restart", "in-clear", "declarers"})
"""The means with which a service is judged alone, as `implementation.alone` has it."""


def output(*arguments: str) -> tuple[int, str]:
    """The exit status of Python with these arguments, and its output."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def source(module: str) -> str:
    """A module as it stands in its file."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


PLANTED = (Path(catalogue.__file__).parent.parent / "planted.md").read_text(encoding="utf-8")


def test_the_page_of_planted_mistakes_names_laws_there_are() -> None:
    """Each that was found is beside the laws that found it."""
    rows = [row for row in PLANTED.splitlines() if row.startswith("| ") and not row.startswith("| mistake")]
    named = [set(re.findall(r"`([a-z_]+/[a-z_]+)`", row)) for row in rows]
    assert set().union(*named) <= LAWS.keys()
    for section in PLANTED.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        assert len(re.findall(r"^\| (?!mistake)", section, re.MULTILINE)) == int(title.rpartition("(")[2].rstrip(")"))


@pytest.fixture(scope="session")
def loaded() -> dict[str, set[str]]:
    """The modules each service loads."""
    program = "import sys; import ordersys.{}.__main__; print(*sys.modules)"
    return {service: set(output("-c", program.format(service.replace("-", "_")))[1].split()) for service in SERVICES}


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    """Thirty at least."""
    assert len(MUTANTS) == len(list(Path(catalogue.__file__).parent.rglob("*.diff")))
    assert len(MUTANTS) >= 30


@every_mutant
def test_a_mutant_says_who_is_broken_how_and_what_has_to_notice(mutant: Mutant) -> None:
    """A name for the command line, a service, a sentence, a law of the suite, and words of how that law fails."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", mutant.name)
    assert mutant.service in (*SERVICES, ALL)
    assert re.fullmatch(r"[A-Z].*\.", mutant.sentence)
    assert is_test(mutant.caught_by) if mutant.is_tested else mutant.caught_by in LAWS
    assert mutant.fails_with.strip(" …"), f"`nox -s mutants -- --learn {mutant.name}` shows how its law fails"
    assert not re.search(r"[0-9a-f]{8}-|:\d{4,5}\b|0x[0-9a-f]", mutant.fails_with), "another run has other ids"


def is_test(node: str) -> bool:
    """True where such a test stands in its file."""
    file, _, name = node.partition("::")
    function = name.partition("[")[0]
    return (
        re.search(rf"^(async )?def {function}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE) is not None
    )


@every_mutant
def test_a_mutant_that_a_test_judges_is_broken_everywhere(mutant: Mutant) -> None:
    """Its test runs in a copy of the source, with whatever that starts; it says nothing that only the suite can do."""
    if mutant.is_tested:
        assert mutant.service == ALL
        assert (mutant.identities, mutant.in_files) == (False, False)


@every_mutant_of_a_law
def test_the_law_of_a_mutant_applies_where_its_service_is_judged_alone(mutant: Mutant) -> None:
    """It needs no other service, and nothing that is not given: whoever judges that service learns of the mistake.

    But for one that several processes show, or a system with identities: who is judged alone is one, and has none.
    """
    if mutant.replicas > 1 or mutant.identities:
        return
    law = LAWS[mutant.caught_by]
    for service in mutant.services:
        assert law.needs <= {service, *GIVEN, *({"stand-in"} if service == PRODUCT else ())}
        assert not law.roles or service in law.roles


@every_mutant
def test_a_mutant_still_finds_what_it_breaks(mutant: Mutant) -> None:
    """The text it replaces is there once, and what comes of it is another module that compiles."""
    for edit in mutant.edits:
        broken = edit.make(source(edit.full_name))
        assert broken != source(edit.full_name)
        compile(broken, edit.full_name, "exec")


@every_mutant_of_a_law
def test_a_mutant_breaks_something_its_services_load(mutant: Mutant, loaded: dict[str, set[str]]) -> None:
    """A change of a module nobody loads would be no mutant at all."""
    shared = (SHARED if mutant.replicas > 1 else set()) | (KNOWN if mutant.identities else set())
    for service in mutant.services:
        assert {edit.full_name.removesuffix(".__main__") for edit in mutant.edits} <= loaded[service] | shared


HEAD = "It breaks.\n\nservice: order-service\ncaught by: events/a\nfails with: 1 … VERSION_MISMATCH | it is late\n\n"
DIFF = """--- a/ordersys/a.py
+++ b/ordersys/a.py
@@
 first = 1

-second = 2
+second = 3
@@
-last = 4
--- a/ordersys/b/__init__.py
+++ b/ordersys/b/__init__.py
@@
 a = 1
+b = 2
"""


def test_a_mutant_is_read_from_its_file() -> None:
    """A sentence, three facts, and a diff of as many hunks and files as it takes."""
    mutant = read("it-breaks", HEAD + DIFF)
    assert (mutant.sentence, mutant.service, mutant.caught_by) == ("It breaks.", "order-service", "events/a")
    assert mutant.fails_with == "1 … VERSION_MISMATCH | it is late"
    assert [edit.full_name for edit in mutant.edits] == ["ordersys.a", "ordersys.a", "ordersys.b"]
    first, second, third = mutant.edits
    broken = second.make(first.make("first = 1\n\nsecond = 2\nthird = 3\nlast = 4\n"))
    assert broken == "first = 1\n\nsecond = 3\nthird = 3\n"
    assert third.make("a = 1\n") == "a = 1\nb = 2\n"


def test_a_mutant_says_with_how_many_processes_it_is_judged() -> None:
    """One, unless its head has another number; that makes it another mutant."""
    single, shared = read("it-breaks", HEAD + DIFF), read("it-breaks", f"{replicas('2')}{DIFF}")
    assert (single.replicas, shared.replicas) == (1, 2)
    assert single.key != shared.key


@pytest.mark.parametrize("number", ["0", "5", "two", "-2", ""])
def test_a_number_of_processes_that_cant_be_is_refused(number: str) -> None:
    """Four of each service are the most the suite starts."""
    with pytest.raises(Malformed, match="it-breaks: `replicas: "):
        read("it-breaks", f"{replicas(number)}{DIFF}")


def replicas(number: str) -> str:
    """A head that asks for so many processes."""
    return HEAD.replace("caught by", f"replicas: {number}\ncaught by")


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        DIFF,
        HEAD.replace("caught by", "caught") + DIFF,
        HEAD + DIFF.replace("+++ b/ordersys/a.py\n", ""),
        HEAD + DIFF.replace("@@\n", ""),
        HEAD + DIFF.replace("-second", "second"),
    ],
    ids=["no diff", "no head", "no law", "one name", "no hunks", "no mark"],
)
def test_a_file_that_is_no_mutant_is_refused(text: str) -> None:
    """With its name, and what is wanted."""
    with pytest.raises(Malformed, match="it-breaks"):
        read("it-breaks", text)


@pytest.mark.parametrize(
    ("counterexample", "stated"),
    [
        ("assert 1 ==\n  'VERSION_MISMATCH'", True),
        ("it is\nlate", True),
        ("VERSION_MISMATCH, 1", False),
        ("assert 2 == 'VERSION_MISMATCH'", False),
        ("", False),
    ],
)
def test_a_counterexample_has_the_words_that_were_stated(counterexample: str, stated: bool) -> None:
    """All of them, in their order, or the others, however it is broken into lines."""
    assert read("it-breaks", HEAD + DIFF).fails_as_stated(counterexample) is stated


def test_without_words_no_failure_is_the_stated_one() -> None:
    """A mutant whose failure nobody has read yet can be read, and is never killed."""
    mutant = read("it-breaks", HEAD.replace("fails with: 1 … VERSION_MISMATCH | it is late\n", "") + DIFF)
    assert not mutant.fails_as_stated("anything")


def test_a_verdict_is_about_a_mutant_as_it_is() -> None:
    """Another edit, law or failure makes another key, under which no verdict is kept."""
    heads = [HEAD, HEAD.replace("events/a", "events/b"), HEAD.replace("1 …", "2 …")]
    diffs = [DIFF, DIFF.replace("second = 3", "second = 4")]
    assert len({read("it-breaks", head + diff).key for head in heads for diff in diffs}) == 6


@pytest.mark.parametrize("text", ["b = 2\n", "a = 1\na = 1\n", "aa = 1\n", "  a = 1\n", "a = 11\n"])
def test_an_edit_whose_lines_are_not_there_once_is_refused(text: str) -> None:
    """A refactoring that moves or doubles them is noticed."""
    with pytest.raises(Moved, match="a = 1"):
        Edit("ordersys/a.py", "a = 1\n", "a = 2\n").make(text)


def test_a_broken_module_is_loaded_in_the_place_of_the_whole_one() -> None:
    """And never kept: the next process finds the whole one."""
    edits = MUTANTS["total-loses-its-cents"].edits
    spec = Finder(edits).find_spec(money.__name__, contract.__path__)
    assert spec is not None
    assert spec.loader is not None
    broken: Any = module_from_spec(spec)
    spec.loader.exec_module(broken)
    items = [OrderItem(quantity=1, unit_price=Money(units=7, nanos=990_000_000))]
    assert (broken.total(items).nanos, money.total(items).nanos) == (0, 990_000_000)


def test_a_mutant_runs_as_the_service_does() -> None:
    """Same help, same exit status: but for what is broken nobody can tell them apart."""
    broken = ("-m", "tests.mutants.run", "version-is-skipped", "order_service")
    for argument in ("--help", "--nonsense"):
        assert output(*broken, argument) == output("-m", "ordersys.order_service", argument)


def test_a_mutation_by_machine_runs_as_the_service_does() -> None:
    """Named by its module and id, in the place of a mutant of the catalogue."""
    (name,) = (
        m.name
        for m in mutations("ordersys.contract.money")
        if m.change == "+= → -=, in: total += item.quantity * (price.units * NANOS + price.nanos)"
    )
    broken = ("-m", "tests.mutants.run", name, "order_service", "--help")
    assert output(*broken) == output("-m", "ordersys.order_service", "--help")


@pytest.mark.parametrize("name", ["nobody", "ordersys.contract.money:00000000", "ordersys.nowhere:00000000"])
def test_an_unknown_mutant_is_answered_by_one_line(name: str) -> None:
    """A mistyped name is named."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants.run", name, "order_service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr == f"{name!r} is no mutant\n"
