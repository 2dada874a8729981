"""Files that are whole, and folders nobody else can change."""

import os
import stat
from pathlib import Path

import pytest

from ordersys.runtime.base.files import UnusableFolder, make_private, path, write_whole


def mode(of: Path) -> int:
    """The permissions of the file or folder."""
    return stat.S_IMODE(of.stat().st_mode)


def test_a_file_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    """Or with the mode it is to have, also over one that can't be written."""
    write_whole(tmp_path / "f", "one")
    assert ((tmp_path / "f").read_text(), mode(tmp_path / "f")) == ("one", 0o600)
    write_whole(tmp_path / "f", "two", 0o400)
    assert ((tmp_path / "f").read_text(), mode(tmp_path / "f")) == ("two", 0o400)
    write_whole(tmp_path / "f", "three")
    assert ((tmp_path / "f").read_text(), mode(tmp_path / "f")) == ("three", 0o600)
    assert [*tmp_path.iterdir()] == [tmp_path / "f"]


class Crash(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("moment", ["open", "fdopen", "fsync", "replace"])
def test_after_a_crash_there_is_the_old_file_or_the_new_one(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it comes; what it leaves beside is written over."""
    target = tmp_path / "f"
    write_whole(target, "old")

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(f"os.{moment}", crash)
        with pytest.raises(Crash):
            write_whole(target, "new")
    assert target.read_text() == "old"
    write_whole(target, "newer")
    assert target.read_text() == "newer"
    assert [*tmp_path.iterdir()] == [tmp_path / "f"]


def test_a_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    """The mask of the process does not matter."""
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "b") == 0o700
    make_private(tmp_path / "a" / "b")


@pytest.mark.parametrize("others", [stat.S_IWGRP, stat.S_IWOTH])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, others: int) -> None:
    """By whom it is said, with the way out; nothing is changed."""
    tmp_path.chmod(0o700 | others)
    with pytest.raises(UnusableFolder, match=f"{tmp_path} may be written by others; chmod go-w it"):
        make_private(tmp_path)
    assert mode(tmp_path) == 0o700 | others


def test_a_folder_that_others_may_read_is_fine(tmp_path: Path) -> None:
    """They can put nothing in the place of anything."""
    tmp_path.chmod(0o755)
    make_private(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """The other user could put anything there, or take it away."""
    os.chown(tmp_path, 54321, -1)
    with pytest.raises(UnusableFolder, match=f"{tmp_path} belongs to another user"):
        make_private(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """Named in the error."""
    (tmp_path / "f").touch()
    for unusable in (tmp_path / "f", tmp_path / "f" / "below"):
        with pytest.raises(UnusableFolder, match=f"{unusable} can't be used as a folder: "):
            make_private(unusable)


@pytest.mark.parametrize("text", ["a\0b", "a\udcffb"])
def test_a_path_is_text(text: str) -> None:
    """Octets that are no UTF-8 come like this from the environment; SQLite takes none."""
    with pytest.raises(ValueError, match="a path in UTF-8"):
        path(text)


def test_a_home_folder_nobody_knows_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME is not set, and the user is in no list."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert path("x") == Path("x")
    with pytest.raises(ValueError, match="the home folder of '~' is not known"):
        path("~/x")
