"""Holds the contract against the released one, or makes it the released one: `python -m ordersys.compat [--release]`.

Called by nox. What is released lies in proto/released, made here and never by hand: the descriptor image, and golden
messages, of which a later release keeps every one.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from ordersys.codegen import IMAGE, ROOT, tool
from ordersys.contract.evolution import complete, findings, release
from ordersys.contract.evolution.golden import entry, golden
from ordersys.contract.topology import kinds

RELEASED = Path("proto/released/v1.binpb")
GOLDEN = Path("proto/released/v1.golden.json")
_COMPATIBLE, _BREAKING = 0, 100


def check(root: Path = ROOT) -> list[str]:
    """A sentence for each break of the released contract: what buf finds, then what it can't see."""
    current = _read(root / IMAGE)
    released = complete(_read(root / RELEASED), current)
    return [*_buf(root, released), *findings(released, current)]


def write(root: Path = ROOT) -> None:
    """Makes the contract of `root` the released one."""
    (root / RELEASED).parent.mkdir(exist_ok=True)
    (root / RELEASED).write_bytes(release(_read(root / IMAGE)).SerializeToString(deterministic=True))
    kept = json.loads((root / GOLDEN).read_text(encoding="utf-8")) if (root / GOLDEN).exists() else []
    made = [entry(message) for kind in kinds() for message in golden(kind)]
    (root / GOLDEN).write_text(_lines([*kept, *(new for new in made if new not in kept)]), encoding="utf-8")


def _read(path: Path) -> FileDescriptorSet:
    return FileDescriptorSet.FromString(path.read_bytes())


def _buf(root: Path, released: FileDescriptorSet) -> list[str]:
    """What `buf breaking` says about the descriptor image; it reads `released` from its standard input."""
    command = [
        str(tool("buf", "buf-bin")),
        "breaking",
        str(IMAGE),
        "--against",
        "-#format=binpb",
        "--config",
        "buf.yaml",
    ]
    done = subprocess.run(command, cwd=root, input=released.SerializeToString(), capture_output=True, check=False)
    if done.returncode not in (_COMPATIBLE, _BREAKING):
        raise SystemExit(f"compat: buf failed: {done.stderr.decode().strip()}")
    return done.stdout.decode().splitlines()


def _lines(entries: list[dict[str, Any]]) -> str:
    """A JSON array, a line for each entry."""
    return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in entries) + "\n]\n"


def main(arguments: Sequence[str], root: Path = ROOT) -> None:
    """`python -m ordersys.compat [--release]`: exit status 1 where the released contract is broken."""
    releasing, released = "--release" in arguments, (root / RELEASED).exists()
    if not released and not releasing:
        raise SystemExit(f"compat: {RELEASED} is missing; `nox -s compat -- --release` makes it")
    if found := check(root) if released else []:
        raise SystemExit("\n".join([*found, f"compat: {len(found)} breaks of {RELEASED}"]))
    if releasing:
        write(root)
    print(f"compat: compatible with {RELEASED}")


if __name__ == "__main__":
    main(sys.argv[1:])
