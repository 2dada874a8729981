"""The page about services in other languages names options, laws and settings that exist, and leaves no law out.

Its steps stand in an order in which each can be done: no law of a step needs what a later one builds.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import OrderState
from tests.contract.harness.law_index import Law, laws, node_id

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "implement.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TABLES = re.findall(r"<!-- steps: ([\w-]+) -->\n\n(.+?)\n\n<!-- end -->", PAGE, re.DOTALL)
GIVES = {"--amqp-url": "broker", "--amqp-proxy": "proxy", "--stand-in": "stand-in", "--restart": "restart"}
"""The options that give the suite something to judge with, by the word laws have for it."""
LAWS = list(laws())
NEEDED = {
    "test_idempotency": re.compile(r"REQUEST_ID_REUSED|\.request_id\b.* = .*\.request_id\b"),
    "test_pages": re.compile(r"\bList(?:Orders|Products)Request\(|\blisting\("),
    "test_dead_letters": re.compile(r"\bdead_letters?\(|_dead_letter\("),
}
"""By the word of the laws that judge it when it is built: how a law's source shows that it needs that subject.

Not every law shows it: one may send a request twice without a word about its request_id.
"""


class Step(NamedTuple):
    """A row of a table: the service that is built, and the command that judges it."""

    role: str
    command: str

    @property
    def options(self) -> list[str]:
        """The options of the suite in the command."""
        return re.findall(r"--[a-z][\w-]+", self.command)

    @property
    def words(self) -> list[str]:
        """The words that `-k` chooses laws by; none for all laws."""
        chosen = re.search(r'-k "(.+)"', self.command)
        return chosen[1].split(" or ") if chosen else []

    def applicable(self) -> list[Law]:
        """The laws that the suite tries when the service is judged with these options."""
        there = {self.role, *(GIVES[option] for option in self.options if option in GIVES)}
        return [law for law in LAWS if law.needs <= there and (not law.roles or self.role in law.roles)]


STEPS = [Step(role, command) for role, table in TABLES for command in re.findall(r"\| `(nox .+)` \|", table)]
ALONE = [step for step in STEPS if step.words]
every_step = pytest.mark.parametrize("step", STEPS, ids=[f"{step.role} {' '.join(step.words)}" for step in STEPS])


def matches(law: Law, word: str) -> bool:
    """A word of `-k` chooses a law by the name of its file or function."""
    file, function = law.id.split("/")
    return word in f"test_{file}" or word in f"test_{function}"


def test_each_kind_of_service_has_its_steps() -> None:
    """One table each, which ends with the run of everything."""
    assert [role for role, _ in TABLES] == ["order-service", "product-service", "notification-service-2"]
    for role, _ in TABLES:
        last = [step for step in STEPS if step.role == role][-1]
        assert f"--program {role}=" in last.command
        assert not last.words


@every_step
def test_a_step_has_options_of_the_suite(step: Step, pytestconfig: pytest.Config) -> None:
    """`nox -s contract` takes every option of every command."""
    assert f"--{step.role}" in step.options or "--program" in step.options
    for option in step.options:
        pytestconfig.getoption(option)  # raises ValueError for one there is not


@pytest.mark.parametrize("step", ALONE, ids=[f"{step.role} {' '.join(step.words)}" for step in ALONE])
def test_each_word_of_a_step_chooses_a_law_that_applies(step: Step) -> None:
    """A step that judges nothing would look like one that is done."""
    for word in step.words:
        assert any(matches(law, word) for law in step.applicable()), f"{word} chooses nothing"


@pytest.mark.parametrize("role", [role for role, _ in TABLES])
def test_the_steps_leave_no_law_out(role: str) -> None:
    """Each law that the service can be judged by alone belongs to a step."""
    steps = [step for step in ALONE if step.role == role]
    chosen = {law.id for step in steps for law in step.applicable() if any(matches(law, word) for word in step.words)}
    assert chosen == {law.id for step in steps for law in step.applicable()}


def source(law: Law) -> str:
    """The source of a law, with the helpers and fixtures of its module that it names, and those that these name."""
    path, _, name = node_id(law.id).partition("::")
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name: ast.unparse(node) for node in module.body if isinstance(node, ast.FunctionDef)}
    names, text = [name], ""
    for each in names:
        text += functions[each]
        names += [other for other in functions if other not in names and re.search(rf"\b{other}\b", functions[each])]
    return text


@pytest.mark.parametrize("role", [role for role, _ in TABLES])
def test_no_step_needs_what_a_later_one_builds(role: str) -> None:
    """Lists, request_ids and dead letters are built no later than in the first step with a law that uses them."""
    steps = [step for step in ALONE if step.role == role]
    first: dict[str, int] = {}
    for number, step in enumerate(steps, 1):
        for law in step.applicable():
            if any(matches(law, word) for word in step.words):
                first.setdefault(law.id, number)
    sources = {law.id: source(law) for law in LAWS if law.id in first}
    for word, shows in NEEDED.items():
        built = [number for number, step in enumerate(steps, 1) if word in step.words]
        early = [law for law, number in first.items() if built and number < built[0] and shows.search(sources[law])]
        assert early == [], f"laws before step {built[0]}, which builds what {word} judges"


def test_the_suite_takes_the_command_of_a_step() -> None:
    """As pytest reads it: the words of the first step choose laws."""
    arguments = [*STEPS[0].options, "-k", STEPS[0].words[0]]
    address = re.search(r"=(\S+)", STEPS[0].command)
    assert address
    arguments[0] += address[0]
    command = [sys.executable, "-m", "pytest", "tests/contract", "-m", "law", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--collect-only", "-q", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "says_serving[order-service]" in done.stdout


def _named_laws() -> Iterator[str]:
    yield from re.findall(r"`(\w+)/…`", PAGE)


@pytest.mark.parametrize("subject", sorted(set(_named_laws())))
def test_laws_that_are_named_exist(subject: str) -> None:
    """By their subject."""
    assert any(law.id.startswith(f"{subject}/") for law in LAWS)


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"ORDERSYS_\w+", PAGE))))
def test_settings_that_are_named_exist(variable: str) -> None:
    """They stand in the table of all settings."""
    assert f"| `{variable}` |" in OPERATIONS


def test_reasons_that_are_named_are_those_of_the_contract() -> None:
    """A word in capitals with an underscore, between backticks, is a reason, or a state."""
    named = {name for name in re.findall(r"`([A-Z]+_[A-Z_]+)`", PAGE) if not name.startswith("ORDERSYS_")}
    assert named <= {*ErrorReason.keys(), *OrderState.keys()}


def test_stubs_are_generated_from_the_descriptor_set(tmp_path: Path) -> None:
    """As the page says: protoc takes the file in the place of sources, imports included."""
    listing = re.search(r"\nFILES=\$\((.+?)\)", PAGE)
    assert listing
    shell = shutil.which("sh") or "/bin/sh"
    files = subprocess.run([shell, "-c", listing[1]], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    command = [sys.executable, "-m", "grpc_tools.protoc", "--descriptor_set_in=ordersys/api/contract.binpb"]
    done = subprocess.run(
        [*command, f"--python_out={tmp_path}", "buf/validate/validate.proto", *files.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ordersys/api/order/v1/order_service_pb2.py").exists()
    assert (tmp_path / "buf/validate/validate_pb2.py").exists()
