"""The files by which a private RabbitMQ knows its users: definitions, certificates, configuration."""

import base64
import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from ordersys.contract.permissions import contract_permissions
from ordersys.contract.topology import topology
from ordersys.identity.authority import Authority
from ordersys.local.rabbitmq_security import BrokerSecurity, opened_again
from ordersys.runtime.base.settings import read
from ordersys.runtime.settings import Settings

USERS = [*(granted.user for granted in contract_permissions()), "observer"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The identities of a system."""
    made = Authority.make(tmp_path / "größe #1, x=%" / "identity")
    made.renew()
    return made


@pytest.fixture
def security(authority: Authority) -> BrokerSecurity:
    """The one of that system's nodes."""
    return BrokerSecurity(authority.layout)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The folder of a node."""
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


def definitions(node: Path) -> dict[str, Any]:
    """The definitions that the node imports when it boots."""
    stated: dict[str, Any] = json.loads((node / "definitions.json").read_text())
    return stated


def of_guest(node: Path) -> list[Any]:
    """All rights of the guest."""
    return [granted for granted in definitions(node)["permissions"] if granted["user"] == "guest"]


def test_the_users_are_those_of_the_contract_and_none_has_a_password(security: BrokerSecurity, node: Path) -> None:
    """With the rights of the contract, for exchanges that are defined before; queues are the declarer's."""
    security.write(node, is_new=True)
    stated = definitions(node)
    assert [user["name"] for user in stated["users"]] == USERS
    assert {(user["password_hash"], user["tags"]) for user in stated["users"]} == {("", "")}
    assert [granted["user"] for granted in stated["permissions"]] == USERS
    exchanges = {exchange["name"] for exchange in stated["exchanges"]}
    assert exchanges == {exchange.name for exchange in topology().exchanges}
    assert {granted["exchange"] for granted in stated["topic_permissions"]} <= exchanges
    assert "queues" not in stated


def test_the_guest_of_an_open_node_loses_its_rights_and_gets_them_back(security: BrokerSecurity, node: Path) -> None:
    """A blank node gets none, also when it is started again."""
    for _ in range(2):
        security.write(node, is_new=False)
        (guest,) = of_guest(node)
        assert {guest[right] for right in ("configure", "write", "read")} == {"^$"}
        assert opened_again(node, "..").splitlines()[-1] == "definitions.local.path = ../definitions.json"
        (guest,) = of_guest(node)
        assert {guest[right] for right in ("configure", "write", "read")} == {".*"}
        (user,) = definitions(node)["users"]
        digest = base64.b64decode(user["password_hash"])
        assert digest[4:] == hashlib.sha256(digest[:4] + b"guest").digest()


def test_a_blank_node_has_no_guest(security: BrokerSecurity, node: Path) -> None:
    """Neither at its first start nor later."""
    for is_new in (True, False, False):
        security.write(node, is_new)
        assert of_guest(node) == []


def test_a_node_that_was_never_secured_is_as_ever(node: Path) -> None:
    """Nothing is written and nothing imported."""
    assert opened_again(node, "..") == ""
    assert list(node.iterdir()) == []


def test_all_files_are_for_their_user_alone_and_follow_a_renewal(
    security: BrokerSecurity, authority: Authority, node: Path
) -> None:
    """The node has copies, which a container sees as well."""
    security.write(node, is_new=True)
    written = [path for path in node.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    assert len(written) == 4
    authority.certificate("rabbitmq")
    assert (node / "tls/key.pem").read_bytes() != authority.layout.key("rabbitmq").read_bytes()
    security.renew(node)
    assert (node / "tls/key.pem").read_bytes() == authority.layout.key("rabbitmq").read_bytes()
    assert (node / "tls/certificate.pem").read_bytes() == authority.layout.certificate("rabbitmq").read_bytes()
    assert authority.layout.ca_key.read_text().splitlines()[1] not in "".join(p.read_text() for p in written)


@pytest.mark.parametrize(
    ("version", "is_told"), [("3.10.8", False), ("3.13.7", False), ("4.0.5", True), ("10.1", True), ("", False)]
)
def test_the_configuration_has_one_mechanism_and_no_port_in_clear(
    security: BrokerSecurity, version: str, is_told: bool
) -> None:
    """Nobody is anonymous: said where the release knows such users, and would not boot otherwise."""
    lines = security.configuration("127.0.0.1:5671", "..", version).splitlines()
    assert [line for line in lines if line.startswith(("listeners", "auth_mechanisms"))] == [
        "listeners.tcp = none",
        "listeners.ssl.1 = 127.0.0.1:5671",
        "auth_mechanisms.1 = EXTERNAL",
    ]
    assert {"ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true"} <= {*lines}
    assert ("anonymous_login_user = none" in lines) == is_told


def test_the_url_of_the_declarer_needs_no_other_setting(security: BrokerSecurity) -> None:
    """Also for a folder with an odd name; that of a service needs its files."""
    (url,) = read(Settings, {"ORDERSYS_AMQP_URL": security.url_of_declarer(5671)}).amqp_url
    assert (url.user, url.is_external, str(url)) == ("topology", True, "127.0.0.1:5671/%2F")
    options = url.fresh().ssl_options
    assert options is not None
    assert options.server_hostname == "rabbitmq"
