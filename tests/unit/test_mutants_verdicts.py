"""Verdicts on mutants: read from the reports of the suite, shown as a matrix, kept in a file."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import postgresql
from tests.contract.harness.launch import free_address
from tests.mutants import __main__ as program
from tests.mutants import tested
from tests.mutants.catalogue import MUTANTS
from tests.mutants.court import Case, Court
from tests.mutants.implementation import DoesNotStart, Implementation, replicated, running
from tests.mutants.matrix import ALONE, REPLICATED, TESTED, TOGETHER, UNBROKEN, Row, all_killed, matrix
from tests.mutants.mutant import ORDER, PRODUCT
from tests.mutants.results import Results
from tests.mutants.suite import Endless, Failure, Judgement, NoVerdict, counterexamples, judgement
from tests.mutants.verdict import Outcome, Verdict, anyhow, as_stated

KILLED = Verdict(Outcome.KILLED, ("events/a",))
UNTRIED = Verdict(Outcome.NOT_TRIED, said="there is no PostgreSQL")
SURVIVED = Verdict(Outcome.SURVIVED, kept=88)
UNBROKEN_ROW = Row(UNBROKEN, "", {TOGETHER: SURVIVED})


def junit(**cases: str) -> str:
    """A report of pytest: what came of tests of the events, by name."""
    ended = {
        "passed": "",
        "failed": '<failure message="it differs"/>',
        "error": '<error message="no start"/>',
        "skipped": "<skipped/>",
    }
    lines = [
        f'<testcase classname="tests.contract.laws.messaging.test_events" name="test_{n}">{ended[e]}</testcase>'
        for n, e in cases.items()
    ]
    return f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>"


def test_a_judgement_has_the_laws_that_were_broken_and_by_what() -> None:
    """Those that were kept, or do not apply, are not among them; a law is broken when one of its cases is."""
    cases = {"a[1]": "passed", "a[2]": "failed", "a[3]": "failed", "b": "passed", "c": "skipped", "d": "failed"}
    broken = (Failure("events/a", ("1 is not 2", "it differs")), Failure("events/d", ("it differs",)))
    assert judgement(junit(**cases), {"events/a": "1 is not 2"}) == Judgement(broken, 1)


def test_a_mutant_that_does_not_start_is_not_judged() -> None:
    """No law can be tried, so that none is broken: that proves nothing."""
    with pytest.raises(NoVerdict, match="events/a first: no start"):
        judgement(junit(a="error", b="error", c="passed"), {})


def test_counterexamples_are_those_of_the_suites_own_report() -> None:
    """By the id of the law."""
    report = json.dumps({"laws": [{"id": "events/a", "result": "failed", "counterexample": "1 is not 2"}]})
    assert counterexamples(report) == {"events/a": "1 is not 2"}


def stated(*broken: Failure) -> Outcome:
    """The outcome where events/a has to fail with ids that differ."""
    return as_stated(Judgement(broken, 9), "events/a", lambda text: text == "ids differ").outcome


def test_only_the_stated_failure_of_the_stated_law_kills() -> None:
    """In one of its cases. Another law, or another reason, are outcomes of their own."""
    as_it_should, otherwise = Failure("events/a", ("?", "ids differ")), Failure("events/a", ("it is down",))
    assert stated(as_it_should) is Outcome.KILLED
    assert stated(Failure("pages/b", ("x",)), as_it_should) is Outcome.KILLED
    assert stated(otherwise) is Outcome.OTHER_REASON
    assert stated(Failure("pages/b", ("ids differ",))) is Outcome.OTHER_LAW
    assert stated() is Outcome.SURVIVED


def test_by_whatever_law_a_mutation_is_killed() -> None:
    """Nobody has stated one."""
    assert anyhow(Judgement((Failure("pages/b", ("x",)),), 9)).outcome is Outcome.KILLED
    assert anyhow(Judgement((), 9)) == Verdict(Outcome.SURVIVED, kept=9)


def test_the_matrix_has_a_line_for_each_way_and_law_and_ends_with_the_scores() -> None:
    """The unbroken implementation stands first; whatever else than its own law caught a mutant is named."""
    whole = [UNBROKEN_ROW, Row(UNBROKEN, ORDER, {ALONE: Verdict(Outcome.SURVIVED, kept=49)})]
    rows = [
        Row("caught", ORDER, {TOGETHER: Verdict(Outcome.KILLED, ("events/a", "pages/b")), ALONE: KILLED}),
        Row("free", ORDER, {TOGETHER: SURVIVED, ALONE: Verdict(Outcome.OTHER_LAW, ("pages/b",))}),
        Row(
            "dead",
            PRODUCT,
            {TOGETHER: Verdict(Outcome.OTHER_REASON, ("events/a",), 0, "it is down"), ALONE: KILLED},
        ),
    ]
    assert matrix(whole, rows).splitlines() == [
        "(unbroken)                together  all 88 laws kept",
        "(unbroken) order-service  alone     all 49 laws kept",
        "caught                    together  events/a",
        "                                    pages/b",
        "                          alone     events/a",
        "free                      together  SURVIVED: all 88 laws kept",
        "                          alone     killed by another law: pages/b",
        "dead                      together  killed for another reason: events/a: it is down",
        "                          alone     events/a",
        "",
        "together: killed 1 of 3",
        "alone, order-service: killed 1 of 2",
        "alone, product-service: killed 1 of 1",
        "alone: killed 2 of 3",
    ]


def test_a_mutant_of_several_processes_that_was_not_tried_is_not_counted_as_killed() -> None:
    """The matrix says why not; the score says how many."""
    whole = [Row(UNBROKEN, "2 processes", {REPLICATED: SURVIVED})]
    rows = [Row("caught", ORDER, {ALONE: UNTRIED, REPLICATED: KILLED}), Row("unknown", ORDER, {REPLICATED: UNTRIED})]
    assert matrix(whole, rows).splitlines() == [
        "(unbroken) 2 processes  replicated  all 88 laws kept",
        "caught                  alone       not tried: there is no PostgreSQL",
        "                        replicated  events/a",
        "unknown                 replicated  not tried: there is no PostgreSQL",
        "",
        "together: killed 0 of 0",
        "alone, order-service: killed 0 of 0, 1 not tried",
        "alone: killed 0 of 0, 1 not tried",
        "replicated: killed 1 of 1, 1 not tried",
    ]


def test_where_there_is_no_postgresql_mutants_of_several_processes_are_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is started for them, nor for the unbroken implementation, and no verdict is one of death."""
    mutant = replace(MUTANTS["version-is-skipped"], replicas=2)
    by_a_test = replace(mutant, caught_by="tests/unit/test_money.py::test_x", service="*")
    court = Court([], Results())  # which has no broker, and would wait for one for ever
    monkeypatch.setattr(postgresql, "lacking", lambda: UNTRIED.said)
    row, tested_row = program._try_mutants(court, [mutant, by_a_test], [TOGETHER, ALONE], full=False)
    assert tested_row.verdicts[TESTED] == UNTRIED
    assert row.verdicts[REPLICATED] == UNTRIED
    assert row.verdicts[ALONE].outcome is Outcome.NOT_TRIED
    assert not row.killed
    assert program._try_unbroken(court, [mutant, by_a_test], [TOGETHER, ALONE]) == []


def test_mutants_of_several_processes_are_judged_on_a_postgresql() -> None:
    """By options of the suite, which starts so many of each service, the broken ones among them."""
    judged = Implementation("version-is-skipped", (ORDER,))
    with replicated(judged, 2, "amqp://127.0.0.1:1", Path()) as (url, broken, *options):
        assert url == "--amqp-url=amqp://127.0.0.1:1"
        assert broken.startswith(f"--program={ORDER}=")
        assert options == ["--database=postgresql", "--replicas=2"]


def test_any_mutant_that_a_postgresql_can_show_may_be_judged_on_one() -> None:
    """Not one about files, nor one that whoever starts the services has to share; it is another case than on files."""
    assert program._can_be_on_postgresql(MUTANTS["version-is-skipped"])
    assert not program._can_be_on_postgresql(MUTANTS["orders-are-kept-in-memory"])
    everywhere = [mutant for mutant in MUTANTS.values() if mutant.service == "*"]
    assert all(program._can_be_on_postgresql(mutant) == (mutant.replicas > 1) for mutant in everywhere)
    mutant = replace(MUTANTS["version-is-skipped"], on_postgresql=True)
    assert program._ways(mutant, [TOGETHER]) == [REPLICATED]
    assert mutant.key != MUTANTS["version-is-skipped"].key


def test_a_mutant_that_breaks_no_law_is_judged_by_its_test_alone() -> None:
    """In no other way, and on no PostgreSQL of ours, unless the test starts one; the whole source passes it before."""
    mutant = replace(MUTANTS["version-is-skipped"], caught_by="tests/unit/test_money.py::test_x", service="*")
    assert program._ways(mutant, [TOGETHER, ALONE]) == [TESTED, ALONE]
    assert program._untried(mutant, [TOGETHER, ALONE], "")[ALONE].outcome is Outcome.NOT_TRIED
    assert not program._can_be_on_postgresql(mutant)
    shared = replace(mutant, replicas=2)
    assert program._can_be_on_postgresql(shared)
    assert program._ways(shared, [TOGETHER]) == [TESTED]
    assert program._untried(shared, [TOGETHER], "") == {}
    assert program._untried(shared, [TOGETHER], UNTRIED.said) == {TESTED: UNTRIED}


def test_a_test_that_could_not_be_tried_judges_nothing() -> None:
    """One that is skipped, that fails before it begins, or that is not there; one that fails judges."""

    def judged(**cases: str) -> Judgement:
        reported = ElementTree.fromstring(junit(**cases)).iter("testcase")  # noqa: S314 - written above
        return tested.judgement("tests/x.py::test_a", list(reported), "?")

    for cases, why in (({"a": "error"}, "no start"), ({"a": "skipped"}, "skipped"), ({}, r"\?")):
        with pytest.raises(NoVerdict, match=why):
            judged(**cases)
    assert judged(a="failed") == Judgement((Failure("tests/x.py::test_a", ("it differs",)),), 0)
    assert judged(a="passed", b="passed") == Judgement((), 2)


def test_an_unbroken_implementation_that_breaks_a_law_proves_nothing() -> None:
    """No mutant was tried."""
    assert matrix([Row(UNBROKEN, "", {TOGETHER: KILLED})], []).splitlines() == [
        "(unbroken)  together  BROKEN: events/a",
        "",
        "together: killed 0 of 0",
    ]


@pytest.mark.parametrize(
    ("verdicts", "killed"),
    [
        ([{TOGETHER: KILLED}], True),
        ([{TOGETHER: KILLED, ALONE: KILLED}, {TOGETHER: KILLED}], True),
        ([{TOGETHER: KILLED, ALONE: SURVIVED}], False),
        ([{TOGETHER: Verdict(Outcome.OTHER_REASON, ("events/a",))}], False),
        ([{REPLICATED: KILLED}, {REPLICATED: UNTRIED}], True),
        ([{REPLICATED: UNTRIED}], False),
        ([{TOGETHER: SURVIVED}, {REPLICATED: UNTRIED}], False),
        ([], False),
    ],
)
def test_only_a_run_in_which_all_were_caught_succeeds(verdicts: list[dict[str, Verdict]], killed: bool) -> None:
    """In each way they were judged. No mutants at all are no proof."""
    assert all_killed([Row("a", ORDER, each) for each in verdicts]) is killed


def test_a_run_goes_on_where_another_ended(tmp_path: Path) -> None:
    """A verdict that is in the file is not looked for again; one that was none is."""
    file, tried = tmp_path / "results", list[str]()

    def judged(key: str, verdict: Verdict) -> Case:
        def judge(url: str) -> Verdict:
            tried.append(key)
            return verdict

        return Case(key, ALONE, judge)

    cases = [judged("a", KILLED), judged("b", SURVIVED), judged("c", Verdict(Outcome.NO_VERDICT, said="?"))]
    first = Court(["amqp://one"], Results(file)).try_all(cases)
    assert Court(["amqp://one"], Results(file)).try_all(cases) == first
    assert tried == ["a", "b", "c", "c"]


def test_an_implementation_that_can_not_be_judged_has_a_verdict_that_says_so() -> None:
    """It ended at once, or the suite did not end, or judged nothing."""

    def raising(error: Exception) -> Case:
        def judge(url: str) -> Verdict:
            raise error

        return Case(str(error), ALONE, judge)

    errors = [DoesNotStart("1"), Endless("2"), NoVerdict("3")]
    verdicts = Court(["amqp://one", "amqp://two"], Results()).try_all([raising(error) for error in errors])
    assert [str(verdict) for verdict in verdicts] == [
        "does not start: 1",
        "killed by the watchdog: 2",
        "no verdict: 3",
    ]


LISTENING = """
import socket, sys
host, port = sys.argv[1].split(":")
server = socket.create_server((host, int(port)))
while True:
    server.accept()[0].close()
"""


def test_a_service_that_ends_at_once_does_not_start(tmp_path: Path) -> None:
    """Its status and its last word are said."""
    command = [sys.executable, "-c", "import sys; print('so it is'); sys.exit('no such module\\n')"]
    trial = running(command, os.environ, tmp_path, free_address())
    with pytest.raises(DoesNotStart, match="it ends with status 1: no such module"), trial:
        pytest.fail("it is judged")


def test_a_service_is_judged_once_it_listens_and_ended_afterwards(tmp_path: Path) -> None:
    """By SIGTERM."""
    address = free_address()
    host, _, port = address.partition(":")
    with running([sys.executable, "-c", LISTENING, address], os.environ, tmp_path, address):
        socket.create_connection((host, int(port))).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_a_service_that_was_killed_runs_anew_until_it_is_told_to_end(tmp_path: Path) -> None:
    """Under another process id each time; SIGTERM is the end of both."""
    address, file = free_address(), tmp_path / "pid"
    host, _, port = address.partition(":")
    command = [sys.executable, "-m", "tests.mutants.kept", str(file), sys.executable, "-c", LISTENING, address]
    with running(command, os.environ, tmp_path, address):
        for _ in range(2):
            killed = int(file.read_text(encoding="utf-8"))
            os.kill(killed, signal.SIGKILL)
            _until(partial(_runs_anew, file, killed, (host, port)))
    assert not _listens(host, port)


def _runs_anew(file: Path, killed: int, address: tuple[str, str]) -> bool:
    """True once another process than the one that was killed listens."""
    return int(file.read_text(encoding="utf-8") or killed) != killed and _listens(*address)


def test_a_service_that_ends_by_itself_is_not_run_anew(tmp_path: Path) -> None:
    """Its exit status is that of the keeper."""
    command = [
        sys.executable,
        "-m",
        "tests.mutants.kept",
        str(tmp_path / "pid"),
        sys.executable,
        "-c",
        "raise SystemExit(3)",
    ]
    assert subprocess.run(command, check=False).returncode == 3


def _listens(host: str, port: str) -> bool:
    try:
        socket.create_connection((host, int(port))).close()
    except OSError:
        return False
    return True


def _until(look: Callable[[], bool]) -> None:
    """Returns when it is so; the time limit of the test is the patience."""
    while not look():
        time.sleep(0.01)


def test_named_laws_are_tried_first(tmp_path: Path) -> None:
    """In the order in which they are named, before those that nobody named, whoever else sorts them."""
    laws = tmp_path / "test_events.py"
    laws.write_text("".join(f"def test_{name}(): pass\n" for name in "abcd"), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--collect-only",
        "-p",
        "tests.mutants.first",
        "-p",
        "no:cacheprovider",
    ]
    options = ["--first=events/c", "--first=events/b", "--first=events/x", "-c", "/dev/null", f"--rootdir={tmp_path}"]
    done = subprocess.run([*command, *options, str(laws)], capture_output=True, text=True, check=True)
    listed = [line.partition("::test_")[2] for line in done.stdout.splitlines() if "::" in line]
    assert listed[:2] == ["c", "b"]
    assert sorted(listed[2:]) == ["a", "d"]
