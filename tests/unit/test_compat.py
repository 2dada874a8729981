"""Releasing a contract: what is written, what is kept, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from ordersys import compat
from ordersys.codegen import IMAGE, ROOT
from ordersys.compat import GOLDEN, RELEASED, main


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


def test_a_later_release_keeps_every_golden_message(project: Path) -> None:
    """What an earlier contract wrote comes first, and nothing is there twice."""
    main(["--release"], project)
    made = json.loads((project / GOLDEN).read_text(encoding="utf-8"))
    earlier = {"type": "ordersys.api.order.v1.GetOrderRequest", "says": {}, "bytes": ""}
    (project / GOLDEN).write_text(json.dumps([earlier, *made[5:]]), encoding="utf-8")
    main(["--release"], project)
    assert json.loads((project / GOLDEN).read_text(encoding="utf-8")) == [earlier, *made[5:], *made[:5]]
