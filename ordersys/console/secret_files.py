"""Files with secrets - passwords, tokens, private keys - which others must be able neither to read nor to change.

A secret that others may read is refused, as ssh does with a key: of a warning nobody takes notice. The rule for all of
them is that of libpq: it belongs to whoever reads it, for himself alone, or to root, who may have a group read it
(Kubernetes: fsGroup).

Container platforms mount passwords and tokens readable by all (Kubernetes: 0644, Docker: 0444 or as outside), in a
container of one user, who can't `chmod` them. What is mounted read-only is therefore answered for by whoever mounts it,
and need only be safe from being changed; but not a key.
"""

import argparse
import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from ordersys.console.opening import Name, open_regular

IGNORED = ".gitignore"
"""The name of the file by which git passes over a folder."""
_MOST_BYTES = 1_048_576
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOTS_GROUP = stat.S_IWGRP | stat.S_IXGRP


class Exposed(OSError):
    """A file with a secret that others may read or change; `strerror` says so of it, with the way out."""


def open_secret(path: Name, is_key: bool = False) -> int:
    """A descriptor of a regular file with a secret, to read it. Never waits. Raises OSError, Exposed among them."""
    descriptor = open_regular(path, os.O_RDONLY)
    try:
        _check(descriptor, path, is_key)
    except Exposed:
        os.close(descriptor)
        raise
    return descriptor


def read_secret(path: Name) -> bytes:
    """The content of a file with a password or a token, of 1 MiB at most. Raises OSError, Exposed among them."""
    with os.fdopen(open_secret(path), "rb") as opened:
        octets = opened.read(_MOST_BYTES + 1)
    if len(octets) > _MOST_BYTES:
        raise OSError(errno.EFBIG, "is larger than 1 MiB", os.fsdecode(path))
    return octets


def text_or_file(text: str) -> str:
    """The text, or that in the file which `@FILE` names: a command line is there for every user of the machine.

    For a command line. Raises argparse.ArgumentTypeError.
    """
    if not text.startswith("@"):
        return text.strip()
    try:
        return read_secret(text[1:]).decode().strip()
    except Exposed as error:
        raise argparse.ArgumentTypeError(f"is in {text[1:]!r}, which {error.strerror}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise argparse.ArgumentTypeError(f"is in {text[1:]!r}, which can't be read: {reason}; name another") from None


def keep_out_of_git(folder: Path) -> None:
    """Has git pass over all that is in a folder, unless somebody has said otherwise there. Raises OSError.

    A folder with keys is often made in a clone, where `git add .` would take them.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with suppress(FileExistsError), os.fdopen(os.open(folder / IGNORED, flags, 0o600), "wb") as file:
        file.write(b"*\n")


def _check(descriptor: int, path: Name, is_key: bool) -> None:
    """Looks at the very file that was opened. Raises Exposed."""
    status = os.fstat(descriptor)
    if not is_key and os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        forbidden = _OTHERS_WRITE
    elif status.st_uid in (os.geteuid(), 0):
        forbidden = stat.S_IRWXO | (stat.S_IRWXG if status.st_uid else _ROOTS_GROUP)
    else:
        raise _exposed(f"belongs to another user (uid {status.st_uid}); change its owner", path)
    if status.st_mode & forbidden:
        raise _exposed("may be read or changed by others; chmod 600 it", path)


def _exposed(text: str, path: Name) -> Exposed:
    return Exposed(errno.EACCES, text, os.fsdecode(path))
