"""Versions stated in pyproject.toml, noxfile.py and .ci/run fit together."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
STATES_A_NOX = ("README.md", ".ci/run", "noxfile.py")


def ranges(entries: list[Any]) -> dict[str, Requirement]:
    """Requirements by package; another group that is included has its own."""
    texts = (entry for entry in entries if isinstance(entry, str))
    return {requirement.name: requirement for requirement in map(Requirement, texts)}


NEEDED = ranges(PROJECT["project"]["dependencies"])
BUILDING = ranges(PROJECT["build-system"]["requires"])
GENERATING = ranges(PROJECT["dependency-groups"]["codegen"])
ALL = [
    *(pytest.param(requirement, id=f"build-{name}") for name, requirement in BUILDING.items()),
    *(pytest.param(requirement, id=f"run-{name}") for name, requirement in NEEDED.items()),
    *(
        pytest.param(requirement, id=f"{group}-{name}")
        for group, texts in PROJECT["dependency-groups"].items()
        for name, requirement in ranges(texts).items()
    ),
]


def lowest(requirement: Requirement) -> Version:
    """The lowest version that is allowed."""
    (floor,) = [Version(specifier.version) for specifier in requirement.specifier if specifier.operator in (">=", "==")]
    return floor


@pytest.mark.parametrize("requirement", ALL)
def test_every_requirement_states_its_lowest_version(requirement: Requirement) -> None:
    """`nox -s lowest` installs it; without one, some version of ten years ago would be allowed."""
    assert lowest(requirement)


def test_stubs_are_made_by_the_same_generator_everywhere() -> None:
    """In a wheel and by `nox -s codegen`: what was tested is what is installed."""
    for name in ("grpcio-tools", "mypy-protobuf"):
        assert BUILDING[name].specifier == GENERATING[name].specifier
    for name in ("googleapis-common-protos", "protobuf-py", "protovalidate"):
        assert BUILDING[name].specifier == NEEDED[name].specifier


def test_stubs_run_on_the_lowest_versions_allowed() -> None:
    """Stubs refuse a grpcio or protobuf older than their generator: one version of it, and no floor below."""
    (pin,) = BUILDING["grpcio-tools"].specifier
    assert pin.operator == "=="
    for name in ("grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-status"):
        assert lowest(NEEDED[name]) >= Version(pin.version)
    made_for = ranges(requires("grpcio-tools") or [])["protobuf"]
    assert lowest(NEEDED["protobuf"]) >= lowest(made_for)


def test_every_python_allowed_is_named_and_run() -> None:
    """The classifiers, which `nox -s pythons` goes through, begin with the lowest Python allowed."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert f">={named[0]}" == PROJECT["project"]["requires-python"]
    assert named == [f"3.{minor}" for minor in range(int(named[0][2:]), int(named[-1][2:]) + 1)]


def test_one_lowest_nox_is_stated_everywhere() -> None:
    """The version that the README and CI install is the one noxfile.py insists on."""
    stated = {
        file: re.findall(r"(?:nox\[uv\]|needs_version = \")>=([\d.]+)", (ROOT / file).read_text(encoding="utf-8"))
        for file in STATES_A_NOX
    }
    assert all(stated.values())
    assert len({version for versions in stated.values() for version in versions}) == 1
