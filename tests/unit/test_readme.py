"""Statements of the README are so."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordersys.notification_service_1.__main__ import Settings as NotificationSettings1
from ordersys.notification_service_2.__main__ import Settings as NotificationSettings2
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ProductSettings
from ordersys.runtime.base.settings import Described, described

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROOMS = re.findall(r"^\| (\[.+\]\(.+\)) \| ([\d,]+) \| .+ \|$", README, re.MULTILINE)
TAKERS = {
    "product": ProductSettings,
    "order": OrderSettings,
    "notification 1": NotificationSettings1,
    "notification 2": NotificationSettings2,
}


def settings_table() -> str:
    """The table of all settings, from their declarations."""
    lines = ["| variable | default | what it is | taken by |", "|---|---|---|---|"]
    for variable, (setting, takers) in _settings().items():
        default = setting.default.replace(f"{ROOT}/", "")
        everybody = len(takers) == len(TAKERS)
        lines.append(
            f"| `{variable}` | `{default}` | {setting.meaning} | {'all' if everybody else ', '.join(takers)} |"
        )
    return "\n".join(lines)


def _settings() -> dict[str, tuple[Described, list[str]]]:
    settings: dict[str, tuple[Described, list[str]]] = {}
    for taker, kind in TAKERS.items():
        for setting in described(kind):
            settings.setdefault(setting.variable, (setting, []))[1].append(taker)
    return settings


def sessions() -> Iterator[str]:
    """The nox sessions the README and CONTRIBUTING call."""
    for text in (README, CONTRIBUTING):
        for names in re.findall(r"nox -s ((?:\w+ ?)+)", text):
            yield from names.split()


def test_the_settings_table_is_current() -> None:
    """Every setting stands on the page about operations with its default and meaning."""
    assert settings_table() in OPERATIONS


@pytest.mark.parametrize(("links", "lines"), ROOMS, ids=[links for links, _ in ROOMS])
def test_a_room_of_the_map_is_as_large_as_it_says(links: str, lines: str) -> None:
    """About: it need not change with every line. A folder below that has a line of its own counts there."""
    folders = [ROOT / link for link in re.findall(r"\]\(([^)]+)\)", links)]
    others = {ROOT / link for row, _ in ROOMS for link in re.findall(r"\]\(([^)]+)\)", row)} - set(folders)
    files = [
        path
        for folder in folders
        for path in (*folder.rglob("*.py"), *folder.rglob("*.proto"))
        if not any(folder in other.parents and other in path.parents for other in others)
    ]
    counted = sum(path.read_text(encoding="utf-8").count("\n") for path in files)
    assert counted == pytest.approx(int(lines.replace(",", "")), rel=0.1)


def test_each_folder_is_on_one_map() -> None:
    """That of the README, or that of CONTRIBUTING; the notification services share a line."""
    packages = {path.parent for part in ("ordersys", "tests") for path in ROOT.glob(f"{part}/*/__init__.py")}
    folders = {str(path.relative_to(ROOT)) for path in packages if not re.search(r"_\d$", path.name)} - {"ordersys/api"}
    rows = re.findall(r"^\| .+ \|$", CONTRIBUTING.partition("## Where things are")[2], re.MULTILINE)
    shown = [link for row in [*(links for links, _ in ROOMS), *rows] for link in re.findall(r"\]\(([^)]+)\)", row)]
    assert folders | {"benchmarks", "deploy", "docs", "examples", "proto", "tools"} <= set(shown)
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("name", sorted(set(sessions())))
def test_every_session_named_exists(name: str) -> None:
    """A command of the README can be typed."""
    assert re.search(rf"^def {name}\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE)
