"""The source distribution and the wheel, built and looked into."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent.parent
GENERATED = ("ordersys/api", "buf", "contract")
LINK = re.compile(r"\]\(([^)#\s]+)")
IN_CODE = re.compile(r"`([\w.-]+/[\w./-]+|\w+\.(?:md|py|toml|yaml))`")
# Root without it is held to the permissions of files, as everybody else is.
MAY_WRITE_ANYWHERE = "dac_override"


def built(tree: Path, target: str, out: Path, *before: str) -> Path:
    """The one file that a target of pyproject.toml becomes."""
    command = [*before, sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = out.iterdir()
    return archive


def unpacked(archive: Path, folder: Path) -> Path:
    """The source tree that a source distribution holds."""
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        tar.extractall(folder)  # noqa: S202 - an archive of ours
    (tree,) = folder.iterdir()
    return tree


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked, as somebody who has nothing else sees it."""
    archive = built(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))
    return unpacked(archive, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture
def source(sdist: Path, tmp_path: Path) -> Path:
    """A source tree to build in, at a place that is hard to name."""
    return Path(shutil.copytree(sdist, tmp_path / "a: b,c ümlaut's \N{SNOWMAN}"))


def texts(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Everything in a wheel, by name."""
    with ZipFile(wheel) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)


def documents(tree: Path) -> list[Path]:
    """The documents written for readers."""
    return [*tree.glob("*.md"), *tree.glob("docs/*.md")]


def is_generated(path: str) -> bool:
    """True for a folder that `nox -s codegen` makes, and for what is in it."""
    return path.startswith(tuple(f"{folder}/" for folder in GENERATED)) or path in GENERATED


def generated(tree: Path) -> list[Path]:
    """The files that `python -m tools.codegen` makes."""
    return [path for folder in GENERATED for path in (tree / folder).rglob("*") if path.is_file()]


def test_a_source_distribution_holds_what_its_documents_lead_to(sdist: Path) -> None:
    """Every relative link, and every path in code style that is one in the repository."""
    missing = []
    for document in documents(sdist):
        text = document.read_text(encoding="utf-8")
        links = [target for target in LINK.findall(re.sub("`[^`]*`", "", text)) if "://" not in target]
        missing += [(document.name, target) for target in links if not (document.parent / target).exists()]
        named = [target for target in IN_CODE.findall(text) if (ROOT / target).exists() and not is_generated(target)]
        missing += [(document.name, target) for target in named if not (sdist / target).exists()]
    assert len(documents(sdist)) > 4
    assert missing == []


def test_a_source_distribution_holds_the_whole_repository(sdist: Path) -> None:
    """The distribution holds all that git knows, and nothing that is generated."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    known = {name for name in listed if name and (ROOT / name).exists()}
    held = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    assert known - held == set()
    assert not {name for name in held if name.startswith(tuple(f"{folder}/" for folder in GENERATED))}


def test_a_wheel_of_the_source_distribution_is_whole_and_tells_nothing_of_where_it_was_built(
    source: Path, tmp_path: Path
) -> None:
    """Each module, stub and file of data once, and no path of the machine in any of them."""
    wheel = built(source, "wheel", tmp_path / "wheel")
    held = list(texts(wheel))
    names = [name for name, _ in held]
    assert len(names) == len(set(names))
    own = {
        path.relative_to(source).as_posix() for path in source.glob("ordersys/**/*.*") if "__pycache__" not in str(path)
    }
    stubs = {f"buf/validate/validate_pb2{end}" for end in (".py", ".pyi", "_grpc.py", "_grpc.pyi")}
    assert own | stubs <= set(names)
    places = [os.fsencode(place) for place in (tmp_path, ROOT, sys.prefix)]
    assert [name for name, text in held if any(place in text for place in places)] == []


def test_a_wheel_is_built_from_a_source_tree_that_is_read_only(source: Path, tmp_path: Path) -> None:
    """The stubs are made elsewhere then; the wheel is the same, and the tree is as it was."""
    drop = ("setpriv", f"--bounding-set=-{MAY_WRITE_ANYWHERE}") if os.geteuid() == 0 else ()
    if drop and not shutil.which("setpriv"):
        pytest.skip("root may write anywhere, and there is no setpriv (util-linux) to forbid it")
    before = sorted(source.rglob("*"))
    folders = [source, *(path for path in before if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        (tmp_path / "out").mkdir()
        wheel = built(source, "wheel", tmp_path / "out", *drop)
        assert sorted(source.rglob("*")) == before
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert dict(texts(wheel)) == dict(texts(built(source, "wheel", tmp_path / "again")))


def test_two_that_generate_into_one_tree_take_turns(source: Path) -> None:
    """Both succeed, and leave the stubs only, whatever was there before and whatever a killed one has left."""
    once = subprocess.run([sys.executable, "-m", "tools.codegen"], cwd=source, capture_output=True, check=True)
    made = {path: path.read_bytes() for path in generated(source)}
    assert source / "contract/proto/buf/validate/validate.proto" in made
    (source / ".codegen-killed/proto").mkdir(parents=True)
    (source / "ordersys/api/old/v1").mkdir(parents=True)
    (source / "ordersys/api/old/v1/old_pb2.py").write_text("")
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tools.codegen"], cwd=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=100)[0] for process in running]
    assert said == [once.stdout] * 3
    assert {path: path.read_bytes() for path in generated(source)} == made
    assert not list(source.glob(".codegen-*"))
    assert not (source / "ordersys/api/old").exists()
