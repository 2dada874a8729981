"""The folder contract/ is whole and needs nothing else; its archive is the same each time."""

import re
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.contract.harness import run_facts
from tools import bundle
from tools.bundle.archive import pack
from tools.bundle.imports import printable
from tools.codegen import IMAGE, PAGE, ROOT, digest, sources, validate_descriptor

NEEDED = {
    "buf/validate/validate.proto",
    "google/protobuf/any.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/timestamp.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "google/type/money.proto",
    "grpc/health/v1/health.proto",
}
"""Files of others that an implementer needs, whatever the contract imports."""
ORDER = "proto/ordersys/api/order/v1/order.proto"
MORE = "proto/ordersys/more.proto"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as it is made from this source tree. Not to be changed."""
    return bundle.write(ROOT, tmp_path_factory.mktemp("bundle"))


def described(image: Path) -> dict[str, FileDescriptorProto]:
    """The files of a descriptor set by name."""
    return {file.name: file for file in FileDescriptorSet.FromString(image.read_bytes()).file}


def names(folder: Path) -> set[str]:
    """The .proto files in the folder, as `import` names them."""
    return {path.relative_to(folder / "proto").as_posix() for path in (folder / "proto").rglob("*.proto")}


def tree(folder: Path, name: str, text: str) -> Path:
    """A source tree in which one file of the contract is another, or a new one."""
    for part in ("proto", "docs"):
        shutil.copytree(ROOT / part, folder / part)
    for part in ("pyproject.toml", "LICENSE", PAGE.as_posix()):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, folder / part)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_descriptor_set_is_that_of_the_files(folder: Path) -> None:
    """Both hold the contract and all that it needs, and each import lies there."""
    files = described(folder / bundle.DESCRIPTORS)
    assert names(folder) == files.keys()
    assert NEEDED | set(sources(ROOT)) <= files.keys()
    assert {imported for file in files.values() for imported in file.dependency} <= files.keys()


def test_the_contract_in_it_is_the_one_of_the_services(folder: Path) -> None:
    """Comments included."""
    files = described(folder / bundle.DESCRIPTORS)
    ours = described(ROOT / IMAGE)
    for name in sources(ROOT):
        assert files[name] == ours[name]
        assert files[name].source_code_info.location
        assert (folder / "proto" / name).read_bytes() == (ROOT / "proto" / name).read_bytes()


def test_printed_files_are_those_of_the_packages(folder: Path) -> None:
    """Descriptor for descriptor, but for names in JSON where the package has dropped them."""
    files = described(folder / bundle.DESCRIPTORS)
    for original in printable():
        made = files[original.name]
        made.ClearField("source_code_info")
        if original != validate_descriptor():
            for message in made.message_type:
                for field in [*message.field, *(field for nested in message.nested_type for field in nested.field)]:
                    field.ClearField("json_name")
        assert made == original


def test_the_page_says_where_each_import_comes_from(folder: Path) -> None:
    """File by file, with the version that is installed; and which contract it is."""
    page = (folder / "README.md").read_text(encoding="utf-8")
    for name in names(folder) - set(sources(ROOT)):
        (row,) = [line for line in page.splitlines() if f"`{name}`" in line and line.startswith("|")]
        package, stated = re.findall(r"\| ([a-z-]+) ([\d.]+) \|", row)[0]
        assert version(package) == stated
    assert f"ordersys {bundle.version()}" in page
    assert digest() in page


def test_what_lies_beside_is_named(folder: Path) -> None:
    """The page lists each file, and each is the one it is a copy of."""
    page = (folder / "README.md").read_text(encoding="utf-8")
    there = {path.name for path in folder.iterdir()} - {"README.md"}
    assert "implement.md" in there
    assert set(re.findall(r"^\| `([\w.-]+)/?` \|", page, re.MULTILINE)) == there
    for name, source in bundle.COPIED.items():
        assert (folder / name).read_bytes() == (ROOT / source).read_bytes()


def test_the_digest_is_that_of_the_reports(folder: Path) -> None:
    """The page, the report of a run and the command on the page say the same."""
    page = (folder / "README.md").read_text(encoding="utf-8")
    stated, command = re.search(r"`sha256:([0-9a-f]{64})`", page), re.search(r"^(cd proto && .+sha256sum)$", page, re.M)
    assert stated
    assert command
    shell = shutil.which("sh") or "/bin/sh"
    done = subprocess.run([shell, "-c", command[1]], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == stated[1]
    assert run_facts.contract().digest == f"sha256:{stated[1]}"


@pytest.mark.parametrize(
    ("old", "new"),
    [("string customer_id = 2", "string customer_id = 22"), ("max_items = 50", "max_items = 51"), ("// ", "// Not: ")],
    ids=["a number", "a rule", "a comment"],
)
def test_another_contract_has_another_digest(old: str, new: str, tmp_path: Path) -> None:
    """A comment may state a demand: it counts as a rule does."""
    text = (ROOT / ORDER).read_text(encoding="utf-8")
    assert old in text
    assert digest(tree(tmp_path, ORDER, text.replace(old, new, 1))) != digest(ROOT)


def test_the_guide_needs_nothing_else(folder: Path) -> None:
    """Each of its links leads to a file of the folder; what stands under the others is there as text."""
    guide = (folder / "implement.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", guide) if "://" not in link and link[0] != "#"]
    assert "v1.golden.json" in links
    assert "proto/ordersys/api/error/v1/error_reason.proto" in links
    assert all((folder / link).exists() for link in links)
    original = (ROOT / "docs/implement.md").read_text(encoding="utf-8")
    unlinked = re.compile(r"\[([^\]]+)\]\([^)\s]+\)")
    assert unlinked.sub(r"\1", guide) == unlinked.sub(r"\1", original)


def test_an_archive_is_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    """Dates and permissions of the files make no difference; everything is in it."""
    again = bundle.write(ROOT, tmp_path)
    for path in again.rglob("*"):
        path.touch()
        path.chmod(0o700)
    first, second = pack(folder, tmp_path / "a", "1.2.3"), pack(again, tmp_path / "b" / "c", "1.2.3")
    assert first.name == "ordersys-contract-1.2.3.tar.gz"
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        tar.extractall(tmp_path / "out")  # noqa: S202 - an archive of ours
    unpacked = tmp_path / "out" / "ordersys-contract-1.2.3"
    assert names(unpacked) == names(folder)
    assert (unpacked / bundle.DESCRIPTORS).read_bytes() == (folder / bundle.DESCRIPTORS).read_bytes()


def test_what_has_left_the_contract_leaves_the_folder(tmp_path: Path) -> None:
    """A file of an older contract would be loaded by whoever loads all there are."""
    folder = bundle.write(ROOT, tmp_path)
    (folder / "proto/ordersys/api/old/v1").mkdir(parents=True)
    (folder / "proto/ordersys/api/old/v1/old.proto").write_text("")
    bundle.write(ROOT, tmp_path)
    assert not (folder / "proto/ordersys/api/old").exists()
    assert not list(tmp_path.glob(".codegen-*"))


def test_a_new_import_is_gathered_as_well(tmp_path: Path) -> None:
    """With what it imports itself."""
    text = 'syntax = "proto3"; import "google/api/annotations.proto";'
    folder = bundle.write(tree(tmp_path, MORE, text))
    assert {"google/api/annotations.proto", "google/api/http.proto", "ordersys/more.proto"} <= names(folder)


def test_an_import_nobody_has_is_named(tmp_path: Path) -> None:
    """By protoc, and the folder is left as it was."""
    root = tree(tmp_path, MORE, 'syntax = "proto3"; import "acme/things.proto";')
    command = [
        sys.executable,
        "-c",
        "import sys; from pathlib import Path; from tools.bundle import write; write(Path(sys.argv[1]))",
    ]
    done = subprocess.run([*command, str(root)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "acme/things.proto: File not found" in done.stderr
    assert done.stderr.endswith("bundle: protoc refused the contract (exit status 1); see above\n")
    assert not (root / bundle.FOLDER).exists()


def test_no_contract_is_no_folder(tmp_path: Path) -> None:
    """One line says so."""
    with pytest.raises(SystemExit, match="there is no contract in"):
        bundle.write(tmp_path)
