"""The report: figures, and for each round that failed a folder with its history, its logs and a summary."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.runner.round import Round
from tests.integration.faults.workload.history import Outcome

_TOLD = 40


@dataclass
class Figures:
    """The sums over all rounds."""

    rounds: int = 0
    operations: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    findings: Counter[Kind] = field(default_factory=Counter)
    slowest_recovery: float = 0.0
    selftests: dict[str, bool] = field(default_factory=dict)
    """By sabotage: true if it was found out."""
    harmless: dict[str, bool] = field(default_factory=dict)
    """By sabotage that breaks no promise: true if it was at work, and was not found out."""

    def add(self, finished: Round) -> None:
        """One round more."""
        operations = finished.history.operations
        self.rounds += 1
        self.operations += len(operations)
        self.acknowledged += sum(operation.outcome is Outcome.OK for operation in operations)
        self.faults[finished.fault.name] += 1
        self.note(finished.findings)
        self.slowest_recovery = max(self.slowest_recovery, finished.recovered_after)

    def note(self, findings: Sequence[Finding]) -> None:
        """Counts what was found."""
        self.findings.update(finding.kind for finding in findings)

    def merge(self, other: "Figures") -> None:
        """Adds those of another worker."""
        self.rounds += other.rounds
        self.operations += other.operations
        self.faults += other.faults
        self.acknowledged += other.acknowledged
        self.findings += other.findings
        self.slowest_recovery = max(self.slowest_recovery, other.slowest_recovery)
        self.selftests |= other.selftests
        self.harmless |= other.harmless

    @property
    def failed(self) -> bool:
        """True if there were findings, or a sabotage was not found out, or one that is harmless was."""
        return bool(self.findings) or not all((*self.selftests.values(), *self.harmless.values()))

    @property
    def line(self) -> str:
        """For programs: one JSON object."""
        counts = {
            "rounds": self.rounds,
            "operations": self.operations,
            "faults": self.faults.total() - self.faults["nothing"],
            "acknowledged": self.acknowledged,
        }
        selftests = (
            {"sabotages": len(self.selftests), "found_out": sum(self.selftests.values())} if self.selftests else {}
        )
        harmless = {"harmless": len(self.harmless), "borne": sum(self.harmless.values())} if self.harmless else {}
        return json.dumps({**counts, **{kind.value: self.findings[kind] for kind in Kind}, **selftests, **harmless})


def summary(finished: Round) -> str:
    """A round in a line."""
    outcomes = Counter(operation.outcome for operation in finished.history.operations)
    counted = ", ".join(f"{outcomes[outcome]} {outcome.value}" for outcome in Outcome)
    verdict = f"{len(finished.findings)} FINDINGS" if finished.findings else "all well"
    return f"{finished.name:<10} {finished.fault.name:<45} {counted:<32} {finished.recovered_after:4.1f} s  {verdict}"


def keep(finished: Round, logs: Path, folder: Path, repeat: str) -> None:
    """Writes everything somebody needs to find out what went wrong; the logs are those anywhere under `logs`."""
    folder.mkdir(parents=True, exist_ok=True)
    finished.history.save(folder / "history.jsonl")
    for log in logs.rglob("*.log"):
        shutil.copy(log, folder)
    (folder / "story.md").write_text(_story(finished, repeat))


def _story(finished: Round, repeat: str) -> str:
    lines = [f"- {finding.kind.value}: {finding.text}" for finding in finished.findings[:_TOLD]]
    more = len(finished.findings) - len(lines)
    return "\n".join(
        [
            f"# {finished.name}: {finished.fault.name}",
            "",
            summary(finished),
            "",
            *lines,
            *([f"- … and {more} more"] if more else []),
            "",
            f"What was asked and answered stands in history.jsonl, what the services said in their logs. `{repeat}`",
            "",
        ]
    )
