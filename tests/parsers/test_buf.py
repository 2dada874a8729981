"""buf reads the folder without a network, and proto/ with the dependencies that it names."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.contract.harness.golden_messages import GOLDEN
from tests.parsers.facts import Read, differences
from tests.parsers.node import Node
from tools import bundle
from tools.codegen import ROOT

# The modules that buf fetches, and the folder of imports that lies in each.
MODULES = {"buf.build/bufbuild/protovalidate": "buf", "buf.build/googleapis/googleapis": "google"}
TEMPLATE = """
version: v2
plugins:
  - {local: protoc-gen-es, out: gen, opt: [target=js, js_import_style=legacy_commonjs], include_imports: true}
"""


def run(program: str, folder: Path, *arguments: str | Path, **settings: str) -> str:
    """Output of buf, started in `folder` with a cache of its own, so that nothing it has fetched before is there."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "BUF_CACHE_DIR": str(folder / "cache"), **settings}
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("source", [".", "proto", "descriptors.binpb"])
def test_buf_builds_the_folder(source: str, buf: str, folder: Path, read: Read, tmp_path: Path) -> None:
    """As a workspace, as a folder of files, and as an image."""
    run(buf, tmp_path, "build", folder / source, "-o", tmp_path / "image.binpb")
    assert differences(read.facts(), Read((tmp_path / "image.binpb").read_bytes()).facts()) == []


def test_buf_generates_code_that_reads_golden_messages(buf: str, node: Node, folder: Path, tmp_path: Path) -> None:
    """With protobuf-es: every golden message, to the byte."""
    (tmp_path / "buf.gen.yaml").write_text(TEMPLATE)
    run(buf, tmp_path, "generate", folder, PATH=f"{node.programs}:/usr/bin:/bin")
    said = node.run("generated.cjs", tmp_path / "gen")
    assert said["golden"] == [golden.body.hex() for golden in GOLDEN]


def test_the_dependencies_that_are_named_are_all_that_is_needed(buf: str, folder: Path, tmp_path: Path) -> None:
    """Modules of those names, with the files of others in them, are found as buf's own registry has them."""
    tree = Path(shutil.copytree(ROOT / "proto", tmp_path / "proto"))
    named = yaml.safe_load((tree / "buf.yaml").read_text(encoding="utf-8"))["deps"]
    assert named == sorted(MODULES)
    (tree / "buf.yaml").unlink()
    for name in named:
        shutil.copytree(folder / "proto" / MODULES[name], tmp_path / MODULES[name] / MODULES[name])
    modules = [{"path": "proto"}, *({"path": MODULES[name], "name": name} for name in named)]
    (tmp_path / "buf.yaml").write_text(yaml.safe_dump({"version": "v2", "modules": modules, "deps": named}))
    run(buf, tmp_path, "build", "proto", "-o", "image.binpb")
    built = Read((tmp_path / "image.binpb").read_bytes()).facts()
    expected = Read((folder / bundle.DESCRIPTORS).read_bytes()).facts()
    assert {name for name in expected["messages"] if name.startswith("ordersys.")} <= built["messages"].keys()
