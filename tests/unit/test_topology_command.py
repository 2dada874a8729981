"""`python -m ordersys.topology`: an exit status and one line for whatever can be wrong, and what it prints."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ordersys.contract.permissions import contract_permissions
from ordersys.contract.topology import topology
from ordersys.local import ports
from ordersys.topology import definitions

ROOT = Path(__file__).parent.parent.parent
USERS = [granted.user for granted in contract_permissions()]


def typed(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command, run to its end, with no broker in its environment but what is given."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")}
    return subprocess.run(
        [sys.executable, "-m", "ordersys.topology", *words],
        env={**others, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_permissions_are_printed_as_commands_for_a_shell() -> None:
    """One for each user, and one for each of its topic exchanges, in the virtual host that was named."""
    lines = [shlex.split(line) for line in typed("permissions", "--vhost", "a b").stdout.splitlines()]
    assert {tuple(words[:4]) for words in lines} == {
        ("rabbitmqctl", name, "-p", "a b") for name in ("set_permissions", "set_topic_permissions")
    }
    granted = contract_permissions()
    assert [words[4:] for words in lines] == [
        *([p.user, p.configure, p.write, p.read] for p in granted),
        *([p.user, topic.exchange, topic.write, topic.read] for p in granted for topic in p.topics),
    ]


def test_the_definitions_are_the_document() -> None:
    """docs/permissions.json is what --json prints."""
    assert typed("permissions", "--json").stdout == (ROOT / "docs" / "permissions.json").read_text(encoding="utf-8")


def test_the_definitions_have_permissions_and_the_exchanges_they_name_and_nothing_else() -> None:
    """No users, which would need passwords; exchanges, without which RabbitMQ 4.3.2 refuses topic permissions."""
    read = json.loads(definitions.document(contract_permissions(), topology(), "trial"))
    assert read.keys() == {"permissions", "topic_permissions", "exchanges"}
    assert [p["user"] for p in read["permissions"]] == USERS
    assert {p["exchange"] for p in read["topic_permissions"]} <= {exchange["name"] for exchange in read["exchanges"]}
    assert {entity["vhost"] for listed in read.values() for entity in listed} == {"trial"}


@pytest.mark.parametrize("words", [["declare"], ["check"]], ids=" ".join)
def test_a_broker_that_does_not_answer_is_3(words: list[str]) -> None:
    """In one line, with the way out and without the password."""
    place = f"{ports.LOOPBACK}:{ports.free(1)[0]}"
    for done in (
        typed(*words, ORDERSYS_AMQP_URL=f"amqp://user:secret@{place}/%2F"),
        typed(*words, "--amqp-url", f"amqp://user:secret@{place}/%2F"),
    ):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert place in done.stderr and "--amqp-url" in done.stderr
        assert "secret" not in done.stderr


WRONG: dict[str, tuple[list[str], dict[str, str]]] = {
    "no command": ([], {}),
    "a misspelt command": (["chek"], {}),
    "an URL that is none": (["check", "--amqp-url", "http://user:secret@host"], {}),
    "a setting that is none": (["declare"], {"ORDERSYS_AMQP_URL": "http://user:secret@host"}),
    "a file that is not there": (["check"], {"ORDERSYS_AMQP_URL_FILE": "/not/there"}),
    "a virtual host without a name": (["permissions", "--vhost", ""], {}),
    "a flag of another command": (["declare", "--json"], {}),
}


@pytest.mark.parametrize(("words", "environment"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_2(words: list[str], environment: dict[str, str]) -> None:
    """In one line, without a secret."""
    done = typed(*words, **environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "secret" not in done.stderr


def test_a_url_with_a_password_may_stand_in_a_file(tmp_path: Path) -> None:
    """For its user alone; what is wrong with the option is said of the option."""
    (file := tmp_path / "url").touch(0o600)
    file.write_text(f"amqp://user:secret@{ports.LOOPBACK}:{ports.free(1)[0]}/%2F\n")
    assert typed("check", "--amqp-url", f"@{file}").returncode == 3
    file.chmod(0o644)
    refused = typed("check", "--amqp-url", f"@{file}")
    assert (refused.returncode, "chmod 600 it" in refused.stderr) == (2, True)
    without = typed("check", "--amqp-url", "amqps://127.0.0.1:1/%2F")
    assert without.returncode == 2
    assert "topology: --amqp-url has no user, and amqps:// without one shows a certificate" in without.stderr


def test_another_setting_that_is_wrong_does_not_matter() -> None:
    """The environment may be that of a service."""
    url = f"amqp://{ports.LOOPBACK}:{ports.free(1)[0]}"
    assert typed("check", ORDERSYS_AMQP_URL=url, ORDERSYS_LOG_LEVEL="loud").returncode == 3
