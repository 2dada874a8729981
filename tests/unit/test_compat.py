"""Releasing a contract: what is written, what is kept, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from tools.codegen import IMAGE, ROOT
from tools.compat import __main__ as compat
from tools.compat.__main__ import GOLDEN, NARROWINGS, RELEASED, main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with our descriptor image, nothing released yet, and a buf that finds nothing."""
    for folder in (IMAGE.parent, RELEASED.parent.parent):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / IMAGE, tmp_path / IMAGE)
    monkeypatch.setattr(compat, "_buf", lambda root, released: [])
    return tmp_path


def test_a_contract_is_released_and_compatible_from_then_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The image and golden messages are there, and a comparison ends well, in one line."""
    main(["--release"], project)
    capsys.readouterr()
    main([], project)
    assert capsys.readouterr().out == f"compat: compatible with {RELEASED}\n"
    assert (project / GOLDEN).exists()


def test_without_a_release_there_is_nothing_to_be_compatible_with(project: Path) -> None:
    """That is said, with the way out, and not taken for compatible."""
    with pytest.raises(SystemExit, match="--release"):
        main([], project)


@pytest.mark.parametrize("arguments", [[], ["--release"]])
def test_a_break_is_told_and_not_released(project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Each in a line of its own; what was released stays."""
    main(["--release"], project)
    before = (project / RELEASED).read_bytes()
    monkeypatch.setattr(compat, "_buf", lambda root, released: ["a field is gone"])
    with pytest.raises(SystemExit, match=r"^a field is gone\ncompat: 1 breaks"):
        main(arguments, project)
    assert (project / RELEASED).read_bytes() == before


def test_an_order_of_deployment_is_printed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compatible change that needs one is compatible all the same."""
    main(["--release"], project)
    capsys.readouterr()
    monkeypatch.setattr(compat, "notes", lambda released, current: ["Deploy it first."])
    main([], project)
    assert capsys.readouterr().out == f"compat: note: Deploy it first.\ncompat: compatible with {RELEASED}\n"


BREAK = "Clients that send a field above 9 are refused from now on."


@pytest.fixture
def broken(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose contract breaks the released one by one rule."""
    main(["--release"], project)
    monkeypatch.setattr(compat, "findings", lambda released, current: [BREAK])
    return project


def record(project: Path, *entries: object) -> None:
    (project / NARROWINGS).write_text(json.dumps(entries), encoding="utf-8")


def test_a_recorded_narrowing_is_told_with_its_reason(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It breaks nothing then, and is never passed over in silence."""
    record(broken, {"breaks": BREAK, "because": "Nobody has so many."})
    capsys.readouterr()
    main([], broken)
    assert capsys.readouterr().out == (
        f"compat: recorded narrowing: {BREAK} Nobody has so many.\ncompat: compatible with {RELEASED}\n"
    )


def test_a_narrowing_that_is_another_one_is_not_recorded(broken: Path) -> None:
    """A record is for a rule as it was judged: a limit lowered further is a break."""
    record(broken, {"breaks": BREAK.replace("9", "10"), "because": "Nobody has so many."})
    with pytest.raises(SystemExit, match="above 9"):
        main([], broken)


@pytest.mark.parametrize(
    "entry", [{"breaks": BREAK}, {"breaks": BREAK, "because": ""}, [], "x", {"breaks": BREAK, "because": "x", "y": 1}]
)
def test_a_narrowing_without_a_reason_is_refused(broken: Path, entry: object) -> None:
    """In one line that names the file."""
    record(broken, entry)
    with pytest.raises(SystemExit, match=f"^compat: {NARROWINGS}: each entry "):
        main([], broken)


def test_what_buf_finds_is_no_narrowing(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that is gone can't be explained away."""
    record(broken, {"breaks": BREAK, "because": "Nobody has so many."}, {"breaks": "gone", "because": "Old."})
    monkeypatch.setattr(compat, "_buf", lambda root, released: ["gone"])
    with pytest.raises(SystemExit, match=r"^gone\ncompat: 1 breaks"):
        main([], broken)


def test_a_later_release_keeps_every_golden_message(project: Path) -> None:
    """Messages of an earlier contract come first, and nothing is there twice."""
    main(["--release"], project)
    made = json.loads((project / GOLDEN).read_text(encoding="utf-8"))
    earlier = {"type": "ordersys.api.order.v1.GetOrderRequest", "says": {}, "bytes": ""}
    (project / GOLDEN).write_text(json.dumps([earlier, *made[5:]]), encoding="utf-8")
    main(["--release"], project)
    assert json.loads((project / GOLDEN).read_text(encoding="utf-8")) == [earlier, *made[5:], *made[:5]]
