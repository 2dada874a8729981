"""What came of it: figures, and for each round that failed a folder with its history, its logs and its story."""

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
    found: Counter[Kind] = field(default_factory=Counter)
    slowest_recovery: float = 0.0
    trials: dict[str, bool] = field(default_factory=dict)
    """Whether each sabotage that was tried was found out."""

    def add(self, played: Round) -> None:
        """One round more."""
        operations = played.history.operations
        self.rounds += 1
        self.operations += len(operations)
        self.acknowledged += sum(operation.outcome is Outcome.OK for operation in operations)
        self.faults[played.fault.name] += 1
        self.note(played.findings)
        self.slowest_recovery = max(self.slowest_recovery, played.recovered_after)

    def note(self, findings: Sequence[Finding]) -> None:
        """Counts what was found."""
        self.found.update(finding.kind for finding in findings)

    def merge(self, other: "Figures") -> None:
        """What was played elsewhere."""
        self.rounds += other.rounds
        self.operations += other.operations
        self.faults += other.faults
        self.acknowledged += other.acknowledged
        self.found += other.found
        self.slowest_recovery = max(self.slowest_recovery, other.slowest_recovery)
        self.trials |= other.trials

    @property
    def failed(self) -> bool:
        """Whether anything was found that must not be, or not found that must."""
        return bool(self.found) or not all(self.trials.values())

    @property
    def line(self) -> str:
        """For programs: one JSON object."""
        counts = {
            "rounds": self.rounds,
            "operations": self.operations,
            "faults": self.faults.total() - self.faults["nothing"],
            "acknowledged": self.acknowledged,
        }
        trials = {"sabotages": len(self.trials), "found_out": sum(self.trials.values())} if self.trials else {}
        return json.dumps({**counts, **{kind.value: self.found[kind] for kind in Kind}, **trials})


def summary(played: Round) -> str:
    """A round in a line."""
    outcomes = Counter(operation.outcome for operation in played.history.operations)
    counted = ", ".join(f"{outcomes[outcome]} {outcome.value}" for outcome in Outcome)
    verdict = f"{len(played.findings)} FINDINGS" if played.findings else "all well"
    return f"{played.name:<10} {played.fault.name:<45} {counted:<32} {played.recovered_after:4.1f} s  {verdict}"


def keep(played: Round, logs: Path, folder: Path, repeat: str) -> None:
    """Writes everything somebody needs to find out what went wrong; the logs are those anywhere under `logs`."""
    folder.mkdir(parents=True, exist_ok=True)
    played.history.save(folder / "history.jsonl")
    for log in logs.rglob("*.log"):
        shutil.copy(log, folder)
    (folder / "story.md").write_text(_story(played, repeat))


def _story(played: Round, repeat: str) -> str:
    told = [f"- {finding.kind.value}: {finding.text}" for finding in played.findings[:_TOLD]]
    more = len(played.findings) - len(told)
    return "\n".join(
        [
            f"# {played.name}: {played.fault.name}",
            "",
            summary(played),
            "",
            *told,
            *([f"- … and {more} more"] if more else []),
            "",
            f"What was asked and answered stands in history.jsonl, what the services said in their logs. `{repeat}`",
            "",
        ]
    )
