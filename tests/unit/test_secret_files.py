"""Files with secrets: one that others may read or change is refused, whatever it is for."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from ordersys.console.secret_files import Exposed, keep_out_of_git, open_secret, read_secret

US, ROOT, SOMEBODY = 4711, 0, 4712


class File(NamedTuple):
    """A file as `fstat` and `fstatvfs` show it, and what may be in it."""

    mode: int
    owner: int
    mounted: bool = False
    """Read-only, as container platforms mount secrets."""
    holds_password: bool = True
    holds_key: bool = True


FILES = [
    File(0o600, US),
    File(0o400, US),
    File(0o640, US, holds_password=False, holds_key=False),
    File(0o620, US, holds_password=False, holds_key=False),
    File(0o604, US, holds_password=False, holds_key=False),
    File(0o644, US, holds_password=False, holds_key=False),
    File(0o600, SOMEBODY, holds_password=False, holds_key=False),
    # Kubernetes, a mode of 0440 or 0640 and fsGroup.
    File(0o440, ROOT),
    File(0o640, ROOT),
    File(0o660, ROOT, holds_password=False, holds_key=False),
    File(0o644, ROOT, holds_password=False, holds_key=False),
    # Kubernetes by itself, and a secret of Docker Swarm; of Compose that of whoever wrote it.
    File(0o644, ROOT, mounted=True, holds_key=False),
    File(0o444, ROOT, mounted=True, holds_key=False),
    File(0o440, ROOT, mounted=True),
    File(0o644, US, mounted=True, holds_key=False),
    File(0o644, SOMEBODY, mounted=True, holds_key=False),
    File(0o664, ROOT, mounted=True, holds_password=False, holds_key=False),
    File(0o646, US, mounted=True, holds_password=False, holds_key=False),
]


@pytest.mark.parametrize("is_key", [False, True], ids=["password", "key"])
@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_secret_is_for_one_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: File, is_key: bool
) -> None:
    """Or of root, who may have a group read it; mounted read-only a password may be read by all, a key may not."""
    (path := tmp_path / "secret").write_bytes(b"s3cr3t")
    real, real_vfs = os.fstat, os.fstatvfs

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result((status.st_mode & ~0o777 | file.mode, *status[1:4], file.owner, *status[5:]))

    def fstatvfs(descriptor: int) -> os.statvfs_result:
        status = real_vfs(descriptor)
        return os.statvfs_result((*status[:8], os.ST_RDONLY if file.mounted else 0, *status[9:]))

    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(os, "fstatvfs", fstatvfs)
    monkeypatch.setattr(os, "geteuid", lambda: US)
    if file.holds_key if is_key else file.holds_password:
        with os.fdopen(open_secret(path, is_key), "rb") as opened:
            assert opened.read() == b"s3cr3t"
        return
    with pytest.raises(Exposed, match=r"chmod 600 it|change its owner") as refused:
        open_secret(path, is_key)
    assert refused.value.filename == str(path)


def test_a_link_is_as_what_it_leads_to(tmp_path: Path) -> None:
    """Its own mode is 0777 everywhere; Kubernetes mounts links."""
    (target := tmp_path / "secret").touch(0o600)
    (link := tmp_path / "link").symlink_to(target)
    assert read_secret(link) == b""
    target.chmod(0o644)
    with pytest.raises(Exposed):
        read_secret(link)


def test_a_folder_is_kept_out_of_git(tmp_path: Path) -> None:
    """By a file that says so of all in it; one of somebody's own stays, and a link is not followed."""
    for _ in range(2):
        keep_out_of_git(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "*\n"
    (tmp_path / ".gitignore").write_text("!ca.pem\n")
    keep_out_of_git(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "!ca.pem\n"
    (planted := tmp_path / "planted").mkdir()
    (planted / ".gitignore").symlink_to(tmp_path / "elsewhere")
    keep_out_of_git(planted)
    assert not (tmp_path / "elsewhere").exists()


def test_a_secret_has_an_end(tmp_path: Path) -> None:
    """It may be any file that was named."""
    (file := tmp_path / "secret").touch(0o600)
    file.write_bytes(b"x" * 2**20)
    assert len(read_secret(file)) == 2**20
    file.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(OSError, match="is larger than 1 MiB"):
        read_secret(file)
