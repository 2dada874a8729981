"""The report of a run, and the folder of a round that failed."""

import json
from pathlib import Path

from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.faults.fault import Fault
from tests.integration.faults.runner.round import Round
from tests.integration.faults.runner.round_report import Figures, keep, summary
from tests.integration.faults.selftest.healthy_history import UNAVAILABLE, healthy_history
from tests.integration.faults.workload.history import History
from tests.integration.faults.workload.requests import creating


def round_with(*findings: Finding) -> Round:
    """A round about which that much was found."""
    history = History()
    for operation in healthy_history().operations:
        asked = history.begin(operation.client, operation.request)
        for attempt in operation.tries:
            history.end(asked, history.invoke(asked), attempt.answer)
    return Round(
        "s1r0", Fault("kill", lambda context: ()), history, healthy_history().observations(), list(findings), 1.5
    )


def test_the_last_line_is_for_programs() -> None:
    """One JSON object; zeros when nothing was found."""
    figures = Figures()
    figures.add(round_with())
    figures.add(round_with())
    assert json.loads(figures.line) == {
        "rounds": 2,
        "operations": 22,
        "faults": 2,
        "acknowledged": 16,
        "lost": 0,
        "duplicated_effects": 0,
        "oversold": 0,
        "orphans": 0,
        "unrecovered": 0,
    }
    assert not figures.findings


def test_whatever_is_found_is_counted_as_what_it_is() -> None:
    """In rounds, and when everything has ended."""
    figures = Figures()
    figures.add(round_with(Finding(Kind.LOST, "an order"), Finding(Kind.LOST, "another one")))
    figures.note([Finding(Kind.UNRECOVERED, "a process is left")])
    said = json.loads(figures.line)
    assert (said["lost"], said["unrecovered"], said["orphans"]) == (2, 1, 0)


def test_a_sabotage_nobody_found_out_is_a_failure() -> None:
    """A failure it is, though everything else went well."""
    figures = Figures()
    figures.merge(Figures(selftests={"no-inbox": True}))
    assert not figures.failed
    figures.merge(Figures(selftests={"no-sweep": False}))
    assert figures.failed
    said = json.loads(figures.line)
    assert (said["sabotages"], said["found_out"]) == (2, 1)


def test_a_harmless_sabotage_that_was_found_out_is_a_failure() -> None:
    """It broke a promise that was said to rest on something else."""
    figures = Figures()
    figures.merge(Figures(harmless={"relays-without-lease": True}))
    assert not figures.failed
    figures.merge(Figures(harmless={"another": False}))
    assert figures.failed
    said = json.loads(figures.line)
    assert (said["harmless"], said["borne"]) == (2, 1)
    assert "sabotages" not in said


def test_a_failed_round_leaves_its_history_its_logs_and_its_story(tmp_path: Path) -> None:
    """Enough to find out what went wrong, and how to run it again."""
    environment, folder = tmp_path / "environment", tmp_path / "found" / "s1r0"
    for log in (environment / "log" / "order_service.log", environment / "rabbitmq" / "log" / "node@localhost.log"):
        log.parent.mkdir(parents=True)
        log.write_text("a line")
    failed = round_with(*[Finding(Kind.LOST, f"order {number} is not there") for number in range(50)])
    keep(failed, environment, folder, "nox -s faults -- --seed=1")
    story = (folder / "story.md").read_text()
    assert "order 0 is not there" in story
    assert "and 10 more" in story
    assert "nox -s faults -- --seed=1" in story
    assert {log.name for log in folder.glob("*.log")} == {"order_service.log", "node@localhost.log"}


def test_a_history_is_a_line_for_every_beginning_and_every_end(tmp_path: Path) -> None:
    """In order of time, an open end called unknown."""
    history = History()
    operation = history.begin(3, creating("r", "lamp", 5))
    history.end(operation, history.invoke(operation), UNAVAILABLE)
    history.save(tmp_path / "history.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["invoke", "unknown"]
    assert lines[0]["call"] == "CreateProduct"
    assert {line["client"] for line in lines} == {3}


def test_a_round_is_summed_up_in_one_line() -> None:
    """The line names the fault, says how calls ended, and gives the verdict."""
    assert "all well" in summary(round_with())
    assert "1 FINDINGS" in summary(round_with(Finding(Kind.ORPHAN, "a unit")))
