"""Compares the contract with the released one, or releases it: `python -m tools.compat [--release]`.

Called by nox. proto/released holds the released contract: its descriptor image and golden messages, both written here
and never by hand; later releases add golden messages and remove none. The record of narrowings is written by hand: it
has rules that became stricter within a version, each with the reason why nobody who kept to the comments is affected.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from ordersys.contract.json_text import parse
from ordersys.contract.topology import wire_messages
from tools.codegen import IMAGE, ROOT, tool
from tools.compat import complete, findings, notes, release
from tools.compat.golden import entry, golden

RELEASED = Path("proto/released/v1.binpb")
GOLDEN = Path("proto/released/v1.golden.json")
NARROWINGS = Path("proto/released/v1.narrowings.json")
_COMPATIBLE, _BREAKING = 0, 100  # buf's exit statuses; any other means that it could not compare


class Verdict(NamedTuple):
    """The result of a comparison with the released contract."""

    breaks: list[str]
    """A sentence for each break: those that buf finds, then those that it can't see."""
    narrowings: dict[str, str]
    """Recorded breaks: the sentence, and the reason why nobody who kept the contract is affected."""
    notes: list[str]
    """A sentence for each compatible change that has to be deployed in order."""


def check(root: Path = ROOT) -> Verdict:
    """Compares the contract with the released one. Raises SystemExit for a record of narrowings that can't be read."""
    current = _read(root / IMAGE)
    released = complete(_read(root / RELEASED), current)
    broken, recorded = findings(released, current), narrowings(root)
    breaks = [*_buf(root, released), *(sentence for sentence in broken if sentence not in recorded)]
    kept = {sentence: recorded[sentence] for sentence in broken if sentence in recorded}
    return Verdict(breaks, kept, notes(released, current))


def narrowings(root: Path = ROOT) -> dict[str, str]:
    """The recorded narrowings: the sentence of `check`, to the letter, and the reason. Raises SystemExit.

    An entry stays after the release that contains it: older golden messages may break its rule.
    """
    if not (root / NARROWINGS).exists():
        return {}
    try:
        return dict(_narrowing(entry) for entry in parse((root / NARROWINGS).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise SystemExit(f"compat: {NARROWINGS}: {error}") from error


def _narrowing(entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict) or entry.keys() != {"breaks", "because"} or not all(entry.values()):
        raise ValueError(f"each entry is an object of the texts breaks and because, not {json.dumps(entry)}")
    return str(entry["breaks"]), str(entry["because"])


def write(root: Path = ROOT) -> None:
    """Makes the contract of `root` the released one."""
    (root / RELEASED).parent.mkdir(exist_ok=True)
    (root / RELEASED).write_bytes(release(_read(root / IMAGE)).SerializeToString(deterministic=True))
    kept = json.loads((root / GOLDEN).read_text(encoding="utf-8")) if (root / GOLDEN).exists() else []
    made = [entry(message) for kind in wire_messages() for message in golden(kind)]
    (root / GOLDEN).write_text(_lines([*kept, *(new for new in made if new not in kept)]), encoding="utf-8")


def _read(path: Path) -> FileDescriptorSet:
    return FileDescriptorSet.FromString(path.read_bytes())


def _buf(root: Path, released: FileDescriptorSet) -> list[str]:
    """The lines that `buf breaking` prints about the descriptor image; it reads `released` from standard input."""
    command = [
        str(tool("buf", "buf-bin")),
        "breaking",
        str(IMAGE),
        "--against",
        "-#format=binpb",
        "--config",
        "proto/buf.yaml",
    ]
    done = subprocess.run(command, cwd=root, input=released.SerializeToString(), capture_output=True, check=False)
    if done.returncode not in (_COMPATIBLE, _BREAKING):
        raise SystemExit(f"compat: buf failed: {done.stderr.decode().strip()}")
    return done.stdout.decode().splitlines()


def _lines(entries: list[dict[str, Any]]) -> str:
    """A JSON array, a line for each entry."""
    return "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]\n"


def main(arguments: Sequence[str], root: Path = ROOT) -> None:
    """`python -m tools.compat [--release]`: exit status 1 where the released contract is broken."""
    releasing, released = "--release" in arguments, (root / RELEASED).exists()
    if not released and not releasing:
        raise SystemExit(f"compat: {RELEASED} is missing; `nox -s compat -- --release` makes it")
    verdict = check(root) if released else Verdict([], {}, [])
    for sentence, reason in verdict.narrowings.items():
        print(f"compat: recorded narrowing: {sentence} {reason}")
    for note in verdict.notes:
        print(f"compat: note: {note}")
    if verdict.breaks:
        raise SystemExit("\n".join([*verdict.breaks, f"compat: {len(verdict.breaks)} breaks of {RELEASED}"]))
    if releasing:
        write(root)
    print(f"compat: compatible with {RELEASED}")


if __name__ == "__main__":
    main(sys.argv[1:])
