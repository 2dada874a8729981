"""Verdicts kept in a file, so that a run that was interrupted goes on where it ended."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from tests.mutants.verdict import Outcome, Verdict


class Results:
    """Verdicts by what was judged, and in which way; in a file where one is given, a line each."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = Lock()
        lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
        self._known = dict(_read(line) for line in lines)

    def find(self, judged: str, way: str) -> Verdict | None:
        """The verdict, None when there is none."""
        return self._known.get((judged, way))

    def add(self, judged: str, way: str, verdict: Verdict) -> None:
        """Keeps a verdict at once."""
        with self._lock:
            self._known[judged, way] = verdict
            if self._file:
                line = json.dumps({"judged": judged, "way": way, **verdict._asdict()}, ensure_ascii=False)
                with self._file.open("a", encoding="utf-8") as out:
                    out.write(f"{line}\n")

    def __iter__(self) -> Iterator[tuple[str, str, Verdict]]:
        with self._lock:
            known = list(self._known.items())
        return ((judged, way, verdict) for (judged, way), verdict in known)


def _read(line: str) -> tuple[tuple[str, str], Verdict]:
    row = json.loads(line)
    verdict = Verdict(Outcome(row["outcome"]), tuple(row["laws"]), row["kept"], row["said"])
    return (row["judged"], row["way"]), verdict
