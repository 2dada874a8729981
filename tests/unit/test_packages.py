"""Packages: the RabbitMQ that is run."""

import os
from pathlib import Path

import pytest

from ordersys.local.packages import RABBITMQ_VARIABLE, NoRabbitMQ, provision

PROGRAMS = Path("usr/lib/rabbitmq/lib/rabbitmq_server-4.3.6/sbin")
ERLANG = Path("usr/lib/erlang/bin")


def laid_out(root: Path) -> Path:
    """The programs that are looked for, below a folder."""
    for program in (PROGRAMS / "rabbitmq-server", ERLANG / "erl"):
        (root / program).parent.mkdir(parents=True)
        (root / program).touch(0o755)
    return root


def test_the_rabbitmq_below_the_folder_named_is_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before an installed one, with its own Erlang; also where the folder is named from the current one."""
    root = laid_out(tmp_path / "rabbitmq")
    monkeypatch.chdir(tmp_path)
    for named in (str(root), "rabbitmq"):
        monkeypatch.setenv(RABBITMQ_VARIABLE, named)
        server = provision()
        assert server.programs == root / PROGRAMS
        assert server.version == "4.3.6"
        assert server.path.split(os.pathsep)[0] == str(root / ERLANG)


@pytest.mark.parametrize("missing", [PROGRAMS / "rabbitmq-server", ERLANG / "erl"])
def test_a_folder_named_without_a_rabbitmq_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: Path
) -> None:
    """No other one is run in its place."""
    (laid_out(tmp_path) / missing).unlink()
    monkeypatch.setenv(RABBITMQ_VARIABLE, str(tmp_path))
    with pytest.raises(NoRabbitMQ, match=RABBITMQ_VARIABLE):
        provision()
