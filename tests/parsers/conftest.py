"""The folder contract/ as it is made from this source tree, and the parsers that are there to read it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.contract.harness.golden_messages import GOLDEN
from tests.parsers.facts import Read
from tests.parsers.node import Node
from tools import bundle
from tools.codegen import ROOT


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, made anew. Not to be changed."""
    return bundle.write(ROOT, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def read(folder: Path) -> Read:
    """The descriptor set in it, which protoc has written."""
    return Read((folder / bundle.DESCRIPTORS).read_bytes())


@pytest.fixture(scope="session")
def node() -> Node:
    """Node, with the packages that `nox -s parsers` installs."""
    modules = os.environ.get("ORDERSYS_NODE_MODULES")
    program = shutil.which("node")
    if not modules or not program:
        pytest.skip("`nox -s parsers` installs the parsers for this test")
    entries = [{"type": golden.type, "bytes": golden.body.hex()} for golden in GOLDEN]
    return Node(program, Path(modules), json.dumps(entries))


@pytest.fixture(scope="session")
def buf() -> str:
    """The program buf."""
    program = shutil.which("buf")
    if program is None:
        pytest.skip("buf is not installed; `nox -s parsers` does it")
    return program
