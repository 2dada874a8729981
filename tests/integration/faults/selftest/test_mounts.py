"""Small file systems: they are full when they are, keep what was in the folder, and nobody else sees them."""

import subprocess
import sys
from pathlib import Path

import pytest

_SECONDS = 60
FILLS = """
import errno, sys
from pathlib import Path
from tests.integration.faults.environment import mounts

folder = Path(sys.argv[1])
if not mounts.have_own():
    sys.exit(77)
with mounts.small(folder, 1 << 20):
    (folder / "old").unlink()
    (folder / "new").write_text("made")
    with mounts.filled(folder, 100_000):
        (folder / "fits").write_bytes(bytes(50_000))
    with mounts.filled(folder, 0):
        try:
            (folder / "much").write_bytes(bytes(50_000))
        except OSError as error:
            (folder / "fits").write_text(errno.errorcode[error.errno])
            (folder / "much").unlink()
    print(*Path("/proc/self/mounts").read_text().splitlines(), sep="\\n")
print("gone")
"""


def test_a_small_file_system_is_full_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    """For whoever has the mounts of its own; afterwards the folder is as it was left."""
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    for name in ("old", "below/kept"):
        (folder / name).write_text(name)
    done = subprocess.run([sys.executable, "-c", FILLS, folder], check=False, timeout=_SECONDS, capture_output=True)
    if done.returncode == 77:
        pytest.skip("a process may not have mounts of its own here")
    assert done.returncode == 0, done.stderr.decode()
    assert str(folder) in done.stdout.decode()
    assert str(folder) not in Path("/proc/self/mounts").read_text()
    contents = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert contents == {"below/kept": "below/kept", "new": "made", "fits": "ENOSPC"}
