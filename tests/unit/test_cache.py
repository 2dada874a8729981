"""The folder that a RabbitMQ is unpacked in: whose it is, and what of it is looked at."""

import json
import os
from pathlib import Path

import pytest

from ordersys.local import packages
from ordersys.local.packages import CACHE_VARIABLE, cache
from ordersys.runtime.base.files import UnsafeFolder, UnusableFolder

START = "usr/lib/erlang/bin/erl"


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def test_it_is_in_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG Base Directory Specification has it: a relative path counts as none."""
    assert cache() == tmp_path / "home" / ".cache" / "ordersys"
    monkeypatch.setenv("XDG_CACHE_HOME", "rel/ative")
    assert cache() == tmp_path / "home" / ".cache" / "ordersys"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache() == tmp_path / "xdg" / "ordersys"
    monkeypatch.setenv(CACHE_VARIABLE, "~/mine")
    assert cache() == tmp_path / "home" / "mine"


def test_without_a_home_it_is_in_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME is not set, and the user is in no list, as in many containers."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert cache() == tmp_path / "tmp" / "ordersys-cache-54321"


@pytest.mark.parametrize("home", ["a b", "a:b", "a\nb", "a$b"])
def test_a_home_that_scripts_cant_read_is_passed_over(
    tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ's would take it apart."""
    monkeypatch.setenv("HOME", str(tmp_path / home))
    assert cache() == tmp_path / "tmp" / f"ordersys-cache-{os.getuid()}"


def test_a_home_that_cant_be_written_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place, for one."""
    (tmp_path / "home").touch()
    assert cache() == tmp_path / "tmp" / f"ordersys-cache-{os.getuid()}"


@pytest.mark.parametrize(("name", "named"), [("a b", "without blanks"), ("file", "can't be used as a folder")])
def test_a_named_one_that_cant_be_used_is_refused(
    tmp_path: Path, name: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is taken in its place."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / name))
    with pytest.raises(UnusableFolder, match=named):
        cache()


@pytest.mark.parametrize("where", ["home/.cache/ordersys", "tmp/ordersys-cache-{uid}", "named"])
def test_one_that_others_may_write_to_is_refused(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their programs would be run; a temporary folder can be made by anybody who knows its name."""
    folder = tmp_path / where.format(uid=os.getuid())
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    if where.startswith("tmp"):
        (tmp_path / "home").touch()
    if where == "named":
        monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    with pytest.raises(UnsafeFolder, match=f"{folder} may be written by others"):
        cache()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """As much of an unpacked RabbitMQ as is looked at."""
    root = tmp_path / "rabbitmq"
    for name, text in ((START, 'ROOTDIR=/usr/lib/erlang\nif x\n    ROOTDIR="$ERL_ROOTDIR"\n'), ("usr/lib/some", "x")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "link").symlink_to("usr/lib/some")
    (root / "contents.json").write_text(json.dumps(packages._contents(root)))
    return root


def test_a_whole_one_is_taken_as_it_is(root: Path) -> None:
    """Links and all, whether or not it was told where it is."""
    assert packages._is_complete(root)
    packages._relocate(root)
    assert packages._is_complete(root)


@pytest.mark.parametrize("hole", ["usr/lib/some", "link", "contents.json"])
def test_one_with_a_hole_is_none(root: Path, hole: str) -> None:
    """A file is missing, or a link."""
    (root / hole).unlink()
    assert not packages._is_complete(root)


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", "null"])
def test_one_without_a_list_of_its_contents_is_none(root: Path, text: str) -> None:
    """The list was not written to its end, or by somebody else."""
    (root / "contents.json").write_text(text)
    assert not packages._is_complete(root)


def test_one_with_an_empty_file_is_none(root: Path, tmp_path: Path) -> None:
    """As a machine may leave it that lost its power; nor is an empty folder, or none."""
    (root / "usr/lib/some").write_text("")
    assert not packages._is_complete(root)
    assert not packages._is_complete(tmp_path)
    assert not packages._is_complete(tmp_path / "none")


def test_one_that_was_moved_is_told_where_it_is(root: Path, tmp_path: Path) -> None:
    """Erlang would be started from where it was before."""
    packages._relocate(root)
    moved = root.rename(tmp_path / "else where")
    packages._relocate(moved)
    place = f'ROOTDIR="{moved}/usr/lib/erlang"'
    assert (moved / START).read_text() == f"{place}\nif x\n    {place}\n"
    assert packages._is_complete(moved)
