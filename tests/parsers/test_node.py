"""The usual parsers in Node read the contract as protoc does, options included where they expose them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.contract.harness.golden_messages import GOLDEN
from tests.parsers.facts import Read, by_short_names, differences, without_protobuf
from tests.parsers.node import Node, Unreadable

BODIES = [golden.body.hex() for golden in GOLDEN]
PROTOBUFJS = pytest.mark.parametrize("package", ["protobufjs", "protobufjs-8"])
SORTED = "    (buf.validate.field).repeated.(ordersys.api.rules.v1.unique_products) = true,\n"
IN_BRACES = "    (buf.validate.field).repeated = {[ordersys.api.rules.v1.unique_products]: true},\n"
QUOTED = """'changed_fields must name "state" where previous_state is another one, and only there'"""
ESCAPED = f'"{QUOTED[1:-1].replace(chr(34), chr(92) + chr(34))}"'


def respelled(folder: Path, target: Path, file: str, old: str, new: str) -> Path:
    """A copy of the .proto files in which something is said in other words, which mean the same to protoc."""
    tree = Path(shutil.copytree(folder / "proto", target / "proto"))
    text = (tree / file).read_text(encoding="utf-8")
    assert old in text
    (tree / file).write_text(text.replace(old, new), encoding="utf-8")
    return tree


def stated(said: dict[str, Any]) -> dict[str, Any]:
    """The facts about descriptors among those that a script prints."""
    return without_protobuf({part: said[part] for part in said if part not in ("golden", "says")})


@PROTOBUFJS
def test_protobufjs_reads_the_files(package: str, folder: Path, read: Read, node: Node) -> None:
    """7, which most programs have, and 8: every name, number, type and option; golden messages to the byte."""
    said = node.run("protobufjs.cjs", package, folder / "proto")
    assert differences(read.facts(), stated(said)) == []
    assert said["golden"] == BODIES


@pytest.mark.parametrize("source", ["proto", "descriptors.binpb"])
def test_proto_loader_reads_it(source: str, folder: Path, read: Read, node: Node) -> None:
    """As grpc-js does, from the files and from the descriptor set: every name, number, type and path of a method."""
    said = node.run("proto-loader.cjs", folder / source)
    assert differences(by_short_names(read.facts()), stated(said)) == []
    assert said["golden"] == BODIES


def test_protobuf_es_reads_the_descriptor_set(folder: Path, read: Read, node: Node) -> None:
    """Every name, number, type and option; golden messages to the byte, and as ProtoJSON."""
    said = node.run("protobuf-es.cjs", folder / "descriptors.binpb")
    assert differences(read.facts(), stated(said)) == []
    assert said["golden"] == BODIES
    assert said["says"] == [golden.says for golden in GOLDEN]


def test_an_extension_in_braces_is_noticed(folder: Path, node: Node, tmp_path: Path) -> None:
    """protoc reads that; protobufjs 7, and so grpc-js, does not: the tests above would fail."""
    tree = respelled(folder, tmp_path, "ordersys/api/order/v1/order.proto", SORTED, IN_BRACES)
    for script, *arguments in (["protobufjs.cjs", "protobufjs"], ["proto-loader.cjs"]):
        with pytest.raises(Unreadable, match=r"illegal (name|token) '\['"):
            node.run(script, *arguments, tree)


def test_an_option_that_is_read_as_another_is_noticed(folder: Path, read: Read, node: Node, tmp_path: Path) -> None:
    """protobufjs 7 drops quotes behind a backslash, and says nothing."""
    tree = respelled(folder, tmp_path, "ordersys/api/order/v1/order_events.proto", QUOTED, ESCAPED)
    said = node.run("protobufjs.cjs", "protobufjs", tree)
    assert [place for place in differences(read.facts(), stated(said)) if "OrderUpdated/options" in place]
