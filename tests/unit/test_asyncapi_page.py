"""The page of AsyncAPI is one file, whatever the component and the document have in them."""

import io
import re
import tarfile
from pathlib import Path

import pytest

from tests.unit.test_page import Reader
from tools.page.asyncapi import page, read

SCRIPT = 'const AsyncApiStandalone = { render: () => "</script><b>" };'
STYLE = "b { color: red }"
TEXT = 'info: {title: "</template><script>alert(1)</script> & <b>"}'


def packed(folder: Path, files: dict[str, str]) -> Path:
    """A package of npm with these files."""
    path = folder / "component-1.2.3.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_the_page_has_component_and_document_in_itself() -> None:
    """Neither ends the element it stands in, and the document is there to the letter."""
    made = Reader(page(SCRIPT, STYLE, TEXT))
    assert made.open == []
    assert [tag for tag, _ in made.elements].count("script") == 2
    assert not {"b", "img"} & {tag for tag, _ in made.elements}
    assert "".join(made.inside("template")) == TEXT
    assert made.inside("style") == [STYLE]
    assert made.inside("script")[0].replace("<\\/", "</") == SCRIPT


def test_nothing_comes_from_elsewhere() -> None:
    """Nothing refers to another file, and the policy allows none."""
    made = Reader(page(SCRIPT, STYLE, TEXT))
    assert made.values("src") == []
    assert made.values("href") == ["data:,"]
    (policy,) = (a["content"] or "" for tag, a in made.elements if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?:|'self'|\*", policy)


def test_the_component_is_read_from_its_package(tmp_path: Path) -> None:
    """The script that needs no other, and the small one of two styles."""
    files = {"browser/standalone/index.js": SCRIPT, "styles/default.min.css": STYLE, "styles/default.css": "large"}
    assert read(packed(tmp_path, files)) == (SCRIPT, STYLE)


def test_a_package_without_it_is_named(tmp_path: Path) -> None:
    """One line says which file is missing."""
    with pytest.raises(SystemExit, match=r"component-1\.2\.3\.tgz: .*browser/standalone/index\.js"):
        read(packed(tmp_path, {"index.js": SCRIPT}))
