"""The certificate of a run says what was judged, what was not and why, and what came out; nothing in it is code."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.contract.harness import certificate_html, certificate_text, run_facts
from tests.contract.harness.certificate import (
    LEFT_OUT,
    NOT_REACHED,
    SKIPPED,
    Certificate,
    Judged,
    LawResult,
    Sizes,
    Subject,
    as_json,
    badge,
    hidden,
    joined,
    reason,
)
from tests.contract.harness.certificate_html import rendered
from tests.contract.harness.certificate_output import write_whole
from tests.contract.harness.client import LISTENERS
from tests.contract.harness.law_index import Citation
from tests.contract.harness.run_facts import Contract, Machine, Suite
from tools import codegen

GREEN = "#2e7d32"
ROOT = Path(__file__).parent.parent.parent
CITED = (Citation("implement.md", "Answer a repeat to the byte as at first."),)
KEPT = LawResult("orders/a", "A sentence.", CITED, "passed", cases=3, seconds=1.25)
BROKEN = LawResult(
    "orders/b", "Another <b>.", CITED, "failed", "", 2, ["one", "two"], 0.5, "left and right\n  <script>x</script>"
)
NO_PROXY = LawResult("trouble/c", "A third.", (), "skipped", reason(["proxy"]), means_missing=("proxy",))
NO_RESTART = LawResult("durability/d", "A fourth.", (), "skipped", reason(["restart"]), means_missing=("restart",))
NO_PRODUCT_SERVICE = LawResult("stock/e", "A fifth.", (), "skipped", reason(["product-service"]))
FOREIGN = Subject(
    "Tiny <i>", "1.2", (Judged("order-service", "program", "./x --a=<b>"), Judged("product-service", "ours", ""))
)


def certificate(
    *laws: LawResult, subject: Subject = FOREIGN, durability: str = "", troubles: tuple[str, ...] = ()
) -> Certificate:
    """A run in which these came out."""
    return Certificate(
        subject=subject,
        contract=Contract("v1", "sha256:00"),
        suite=Suite("0.1.0", "abc"),
        machine=Machine("Linux 6 x86_64", 2, "3.11.7"),
        date="2026-11-26T18:00:00Z",
        sizes=Sizes(7, 8, True, 20.0),
        laws=laws,
        seconds=61.5,
        calls={"order-service": 90},
        heard={"orders.events": 12},
        troubles=troubles,
        durability=durability,
        again="nox -s contract -- --quick",
    )


def test_the_json_has_all_that_a_program_needs() -> None:
    """Services, contract and suite, sizes and seed, and each law with the contract's sentence."""
    said = json.loads(json.dumps(as_json(certificate(KEPT, BROKEN, NO_PROXY), "the line")))
    assert said["judged"][0] == {"role": "order-service", "kind": "program", "at": "./x --a=<b>"}
    assert (said["contract"], said["suite"]["version"]) == ({"version": "v1", "digest": "sha256:00"}, "0.1.0")
    assert (said["run"]["seed"], said["run"]["examples"], said["run"]["quick"]) == (7, 8, True)
    assert said["run"]["date"] == "2026-11-26T18:00:00Z"
    assert said["run"]["machine"] == {"system": "Linux 6 x86_64", "cores": 2, "python": "3.11.7"}
    assert said["laws"][0]["contract"] == [{"source": CITED[0].source, "words": CITED[0].words}]
    assert said["laws"][1]["failed_cases"] == ["one", "two"]
    assert said["laws"][2]["why"] == reason(["proxy"])
    assert said["summary"]["calls"] == {"order-service": 90}
    assert (said["ok"], said["summary"]["failed"], said["badge"]) == (False, 1, "the line")


def untried(law: LawResult) -> LawResult:
    """The law for a process that was to try it, and did not."""
    return replace(law, result=SKIPPED, why=NOT_REACHED, cases=0, failed_cases=[], seconds=0.0, counterexample="")


def test_what_several_processes_tried_is_one_certificate() -> None:
    """Each law as whoever tried it tells it; of what nobody tried, the reason; calls of all of them, troubles once."""
    left = certificate(KEPT, untried(BROKEN), NO_PROXY, NO_RESTART, durability=NOT_REACHED, troubles=("x", "y"))
    right = certificate(untried(KEPT), BROKEN, NO_PROXY, untried(NO_RESTART), troubles=("y",))
    for parts in ([left, right], [right, left]):
        whole = joined(parts)
        assert set(map(repr, whole.laws)) == set(map(repr, (KEPT, BROKEN, NO_PROXY, NO_RESTART)))
        assert (whole.calls, whole.heard, whole.durability) == ({"order-service": 180}, {"orders.events": 24}, "")
        assert sorted(whole.troubles) == ["x", "y"]
        assert not whole.interrupted
    assert joined([left]) == left


def test_a_process_that_was_lost_leaves_no_certificate() -> None:
    """Its results are not known; the others say that they have none."""
    whole = joined([certificate(KEPT, untried(BROKEN))], ["gw1"])
    assert whole.interrupted
    assert not whole.ok
    assert whole.troubles == ("the process gw1, which tried laws, did not come to its end",)


def test_the_page_is_complete_escaped_and_needs_nothing_else() -> None:
    """No script, nothing that is loaded, and no text of others that would be markup."""
    page = certificate_html.page(certificate(KEPT, BROKEN, NO_PROXY, durability="nobody may kill <it>"), "a [line]")
    assert not re.search(r"<script|<link|<img|src=|url\(|@import|onload", page)
    assert set(re.findall(r"https?://[^\"<\s]+", page)) <= {"http://www.w3.org/2000/svg"}
    for text in ("Tiny &lt;i&gt; 1.2", "./x --a=&lt;b&gt;", "&lt;script&gt;x", "Another &lt;b&gt;.", "kill &lt;it&gt;"):
        assert text in page
    for text in ("sha256:00", "2026-11-26T18:00:00Z", "8 examples a law (--quick)", "Answer a repeat", "orders/a"):
        assert text in page
    tags = re.findall(r"<(/?)(\w+)", re.sub(r"<!DOCTYPE html>|<meta[^>]*>|<br>|<rect[^>]*/>", "", page))
    opened: list[str] = []
    for closing, tag in tags:
        if closing:
            assert opened.pop() == tag
        else:
            opened.append(tag)
    assert opened == []


def test_the_badge_is_a_picture_by_itself() -> None:
    """It says what was not judged for want of a means, and is green only where there is no such thing."""
    picture = badge(certificate(KEPT, NO_PROXY, NO_RESTART, durability="nobody may kill it"))
    title = ElementTree.fromstring(picture).findtext("{http://www.w3.org/2000/svg}title")  # noqa: S314 - we made it
    limits = "trouble with the broker and durability not judged"
    assert title == f"ordersys contract v1: 1 law kept (--quick), {limits}"
    assert GREEN not in picture
    assert GREEN in badge(certificate(KEPT, NO_PRODUCT_SERVICE))


def test_the_line_for_a_readme_leads_to_what_was_written() -> None:
    """A picture and a page where there are some; else a sentence with its date."""
    run = certificate(KEPT)
    text = r"ordersys contract v1: Tiny \<i\> 1.2, 1 law kept (--quick)"
    assert run.badge_line("b.svg", "r.html") == f"[![{text}](b.svg)](r.html)"
    assert run.badge_line(None, None) == f"{text} (2026-11-26)"


def test_the_terminal_is_short_about_what_was_not_judged() -> None:
    """A line for each reason; of the laws their subjects; that durability was not judged, and why."""
    lines = "\n".join(certificate_text.lines(certificate(KEPT, NO_PROXY, NO_RESTART, durability=NO_RESTART.why)))
    assert "judged: Tiny <i> 1.2: order-service, run as ./x --a=<b>, with our own product-service around" in lines
    assert "1  the suite does not stand between the services and their broker (--amqp-proxy): trouble/c" in lines
    assert "durability was not judged: the suite may not kill what it judges (--restart)" in lines
    assert "1 law tried: 1 kept, 0 broken" in lines
    assert "partial" not in lines


def test_the_terminal_shows_broken_laws_with_the_contracts_sentence() -> None:
    """And the cases, and what differs."""
    lines = list(certificate_text.lines(certificate(BROKEN)))
    begin = lines.index("BROKEN orders/b")
    assert lines[begin + 1 : begin + 4] == [
        "  the law: Another <b>.",
        "  the contract: Answer a repeat to the byte as at first. (implement.md, Idempotency)",
        "  for: one, two",
    ]
    assert lines[begin + 6] == "  again: nox -s contract -- --quick --seed=7 --law=orders/b"


def test_a_part_of_the_suite_is_never_taken_for_the_whole() -> None:
    """Badge, terminal, page and JSON count what somebody left out; the badge is not green."""
    left_out = [LawResult(f"orders/{name}", "One.", (), "skipped", LEFT_OUT) for name in "xyz"]
    part = certificate(KEPT, *left_out, durability=LEFT_OUT)
    assert part.badge_text() == "1 of 4 laws tried, 1 kept; partial (--quick)"
    assert GREEN in badge(certificate(KEPT))
    assert GREEN not in badge(part)
    assert "\n1 law tried: 1 kept, 0 broken; partial: 3 of 4 left out" in list(certificate_text.lines(part))
    assert "3 laws of 4 left out" in certificate_html.page(part, "")
    assert (as_json(part, "")["partial"], as_json(part, "")["summary"]["left_out"]) == (True, 3)
    assert certificate(BROKEN, *left_out).verdict() == "1 of 4 laws tried, 1 broken; partial"
    assert replace(certificate(KEPT), cases_left_out=1).verdict().endswith("; partial")


def test_all_that_is_wanting_is_named_in_one_order() -> None:
    """Services first."""
    both = "no notification-service-1 and no notification-service-2 is judged"
    for lacking in (["broker", *LISTENERS], [*LISTENERS[::-1], "broker"]):
        said = reason(lacking)
        assert said.startswith(f"{both} (--notification-service-1, --notification-service-2); no broker was named")


def test_the_page_renders_the_marks_of_a_sentence() -> None:
    """And nothing that only looks like one."""
    assert rendered("commit, *then* `a<b>` **now**") == (
        "commit, <em>then</em> <code>a&lt;b&gt;</code> <strong>now</strong>"
    )
    assert rendered("3 * 4 * 5") == "3 * 4 * 5"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://guest:guest@h:5672/v", "amqp://***@h:5672/v"),
        ("'AMQPS://u:p@ss@h/v?ssl_options={x}' and", "'AMQPS://***@h/v?***' and"),
        ("https://u@h, mail@x.org", "https://***@h, mail@x.org"),
        ("amqp://h:5672/v, and a@b", "amqp://h:5672/v, and a@b"),
    ],
)
def test_what_a_url_holds_is_hidden(text: str, shown: str) -> None:
    """The host stays."""
    assert hidden(text) == shown


@pytest.mark.parametrize(
    ("laws", "troubles", "is_ok"),
    [((KEPT,), (), True), ((KEPT, BROKEN), (), False), ((KEPT,), ("no call",), False), ((NO_PROXY,), (), False)],
    ids=["kept", "broken", "spoiled", "nothing judged"],
)
def test_only_a_run_that_kept_laws_and_broke_none_is_good(
    laws: tuple[LawResult, ...], troubles: tuple[str, ...], is_ok: bool
) -> None:
    """One that judged nothing is no certificate."""
    assert certificate(*laws, troubles=troubles).ok is is_ok


def test_the_digest_is_that_of_the_documented_command() -> None:
    """Anybody who has the contract can compare."""
    command = re.search(r"`(cd proto && .+sha256sum)`", codegen.digest.__doc__ or "")
    assert command
    shell = shutil.which("sh") or "/bin/sh"
    done = subprocess.run([shell, "-c", command[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run_facts.contract() == Contract("v1", f"sha256:{done.stdout.split()[0]}")


def test_the_suite_knows_its_version() -> None:
    """That of the project; and its commit, where this is a clone."""
    suite = run_facts.suite()
    assert suite.version == "0.1.0"
    assert re.fullmatch(r"([0-9a-f]{12}\+?)?", suite.commit)


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """The old text stays where the new one can't be written; nothing else is left."""
    file = tmp_path / "r.json"
    write_whole(file, "old \ud800")
    assert file.read_text() == "old \\ud800"
    with pytest.raises(TypeError):
        write_whole(file, None)  # type: ignore[arg-type]
    assert file.read_text() == "old \\ud800"
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    assert file.stat().st_mode & 0o700 == 0o600
