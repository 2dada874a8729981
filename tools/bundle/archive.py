"""The folder of the contract as an archive to be attached to a release: the same bytes for the same files."""

import gzip
import io
import tarfile
from pathlib import Path

_MODE = 0o644


def pack(folder: Path, out: Path, version: str) -> Path:
    """Packs `folder` into a .tar.gz in `out`, which is made, and returns its path. Raises OSError."""
    name = f"ordersys-contract-{version}"
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{name}.tar.gz"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            _add(tar, f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    target.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return target


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Adds a file without owner and date: neither says anything about the contract."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), _MODE
    tar.addfile(entry, io.BytesIO(content))
