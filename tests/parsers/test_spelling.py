"""Options are spelled so that every parser reads them; `nox -s parsers` tries it, this tells where there is no Node."""

import re
from pathlib import Path

import pytest

from tools.bundle.imports import printable
from tools.codegen import PROTO, ROOT, sources

UNREADABLE = {
    "an extension inside braces, which protobufjs 7 refuses": r"[{,;\s]\[[\w.]+\]\s*[:{]",
    "a quote behind a backslash, which protobufjs 7 drops": r"(?<!\\)(\\\\)*\\[\"']",
}


@pytest.mark.parametrize("reason", UNREADABLE)
@pytest.mark.parametrize("name", sources(ROOT))
def test_a_file_has_no_option_that_some_parser_can_not_read(name: str, reason: str) -> None:
    """Comments may have it."""
    text = re.sub(r"//.*", "", (ROOT / PROTO / name).read_text(encoding="utf-8"))
    assert not re.search(UNREADABLE[reason], text), reason


def test_printed_files_have_none(folder: Path) -> None:
    """Those of others that are written here."""
    for file in printable():
        text = (folder / PROTO / file.name).read_text(encoding="utf-8")
        assert not [reason for reason, pattern in UNREADABLE.items() if re.search(pattern, text)]


@pytest.mark.parametrize(
    "text",
    [
        "[(buf.validate.field).repeated = {[ordersys.api.rules.v1.unique_products]: true}]",
        "[(buf.validate.field).repeated = {\n  min_items: 1\n  [ordersys.api.rules.v1.unique_products]: true\n}]",
        "option (x) = {a: 1, [b.c] {d: 2}};",
        'message: "must name \\"state\\""',
    ],
)
def test_such_an_option_would_be_seen(text: str) -> None:
    """In whatever place it stands."""
    assert any(re.search(pattern, text) for pattern in UNREADABLE.values())
