"""protoc makes code of the folder, with one include path and nothing else; its messages read what was ever written."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.harness.golden_messages import GOLDEN, Golden, case_name
from tests.parsers.facts import Read, differences
from tools.codegen import ROOT

# Unlike `python -m grpc_tools.protoc`, this adds no include path of its own.
PROTOC = "import sys; from grpc_tools import protoc; sys.exit(protoc.main(['protoc', *sys.argv[1:]]))"


def test_one_include_path_is_enough(folder: Path, read: Read, tmp_path: Path) -> None:
    """Stubs of all files, those of others included; what protoc reads is what the descriptor set says."""
    files = sorted(path.relative_to(folder / "proto").as_posix() for path in (folder / "proto").rglob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python")]
    command = [sys.executable, "-c", PROTOC, f"-I{folder / 'proto'}", f"--descriptor_set_out={tmp_path}/set", *outputs]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert differences(read.facts(), Read((tmp_path / "set").read_bytes()).facts()) == []
    for file in files:
        assert (tmp_path / file.replace(".proto", "_pb2_grpc.py")).exists()


@pytest.mark.parametrize("golden", GOLDEN, ids=case_name)
def test_a_golden_message_is_read_by_the_descriptor_set(golden: Golden, read: Read) -> None:
    """And is written as it was, to the byte."""
    message = read.message_class(golden.type).FromString(golden.body)
    message.DiscardUnknownFields()
    assert message.SerializeToString(deterministic=True) == golden.body
