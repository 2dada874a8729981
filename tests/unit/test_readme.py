"""What the README says is so."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordersys.notification_service_1.__main__ import Settings as NotificationSettings1
from ordersys.notification_service_2.__main__ import Settings as NotificationSettings2
from ordersys.runtime.settings import Described, OrderSettings, ProductSettings, described

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
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
    found: dict[str, tuple[Described, list[str]]] = {}
    for taker, kind in TAKERS.items():
        for setting in described(kind):
            found.setdefault(setting.variable, (setting, []))[1].append(taker)
    return found


def sessions() -> Iterator[str]:
    """The nox sessions the README and CONTRIBUTING call."""
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        for names in re.findall(r"nox -s ((?:\w+ ?)+)", text):
            yield from names.split()


def test_the_settings_table_is_current() -> None:
    """Every setting stands in the README with its default and meaning."""
    assert settings_table() in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_every_link_leads_to_a_file(target: str) -> None:
    """Relative links only, to what is there."""
    assert (ROOT / target).exists()


@pytest.mark.parametrize("name", sorted(set(sessions())))
def test_every_session_named_exists(name: str) -> None:
    """A command of the README can be typed."""
    assert re.search(rf"^def {name}\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE)
