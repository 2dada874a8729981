"""The ways a certificate takes: printed at the end of a run, and written into the files of --report."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.contract.harness import certificate_html, certificate_text
from tests.contract.harness.certificate import Certificate, as_json, badge


def lines(certificate: Certificate, files: Sequence[Path]) -> Iterator[str]:
    """The lines for a terminal; with files, a line for a README as well."""
    yield from certificate_text.lines(certificate)
    if files:
        beside = " and ".join(file.name for file in files if file.suffix in (".svg", ".html"))
        copied = f", with {beside} copied beside it" if beside else ""
        yield f"\nfor a README{copied}: {_badge_line(certificate, files)}"


def write(certificate: Certificate, files: Sequence[Path]) -> None:
    """Writes each file as a whole, or leaves it as it is. Raises OSError."""
    line = _badge_line(certificate, files)
    for file in files:
        write_whole(file, _content(file, certificate, line))


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that there is the old one or the new one, complete. Raises OSError."""
    descriptor, beside = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as new:
            new.write(text)
        mask = os.umask(0)
        os.umask(mask)
        Path(beside).chmod(0o666 & ~mask)
        Path(beside).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(beside).unlink()
        raise


def _badge_line(certificate: Certificate, files: Sequence[Path]) -> str:
    by_kind = {file.suffix: file.name for file in files}
    return certificate.badge_line(by_kind.get(".svg"), by_kind.get(".html"))


def _content(file: Path, certificate: Certificate, badge_line: str) -> str:
    if file.suffix == ".json":
        return json.dumps(as_json(certificate, badge_line), indent=1) + "\n"
    return certificate_html.page(certificate, badge_line) if file.suffix == ".html" else badge(certificate)
