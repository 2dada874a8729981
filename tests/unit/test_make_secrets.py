"""deploy/make-secrets.sh makes what containers have, for whoever runs them, and makes it once."""

import base64
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ordersys.contract import access
from ordersys.contract.permissions import DECLARER, contract_permissions
from ordersys.contract.topology import topology
from ordersys.identity import issuing
from ordersys.runtime.base import settings
from ordersys.runtime.rpc.security import Security
from ordersys.topology import definitions
from tests.deployment import (
    BROKER,
    DEPLOY,
    FILES,
    KINDS,
    MOUNTED,
    ROOT,
    USERS,
    Container,
    compose,
    composed,
    deployments,
    documents,
    folders,
    sources,
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder in which the script was run for Compose."""
    assert make_secrets(tmp_path, "compose").returncode == 0
    return tmp_path


def make_secrets(folder: Path, purpose: str = "", python: str = sys.executable) -> "subprocess.CompletedProcess[str]":
    """Runs the script in a folder of its own, with a Python in the place of the image's."""
    for name in ("make-secrets.sh", "make_secrets.py"):
        shutil.copy(DEPLOY / name, folder)
    # An umask that hides nothing: the script has to.
    command = ["sh", "-c", 'umask 0; exec "$0" "$@"', str(folder / "make-secrets.sh"), *purpose.split()]
    environment = {"PATH": os.environ["PATH"], "ORDERSYS_PYTHON": python, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("python", ["bare", "/nowhere/python"])
def test_a_python_without_ordersys_is_one_line(tmp_path: Path, python: str) -> None:
    """It names the variable, what is wrong with it, and the ways out; nothing is made."""
    if python == "bare":
        (bare := tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
        bare.chmod(0o755)
        python = str(bare)
    done = make_secrets(tmp_path, "compose", python)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(f"make-secrets.sh: ORDERSYS_PYTHON is {python}, which is no Python with ordersys installed;")
    assert "pip install ." in line
    assert list((tmp_path / ".secrets").iterdir()) == []


def contents(folder: Path) -> Mapping[str, tuple[bytes, int]]:
    """Each file below, and when it was written."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_secrets_are_for_whoever_runs_the_containers_and_for_nobody_else(made: Path) -> None:
    """Folders 0700, files 0600 but for the public ones of the authority; root gives them to the image's user."""
    (line,) = (made / ".env").read_text(encoding="ascii").splitlines()
    user = "10001:10001" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"
    assert line == f"ORDERSYS_USER={user}"
    secrets = [made / ".secrets", *(made / ".secrets").rglob("*")]
    for path in secrets:
        status = path.stat()
        assert f"{status.st_uid}:{status.st_gid}" == user
        is_public = path.parent.parts[-2:] != (".secrets", "identity") or path.suffix in (".pem", ".json")
        wanted = {0o700} if path.is_dir() else {0o600, 0o644} if is_public and "identity" in path.parts else {0o600}
        assert stat.S_IMODE(status.st_mode) in wanted, path
    mounted = {folder for service in compose()["services"].values() for folder in folders(service).values()}
    assert mounted | {"passwords"} == {path.name for path in (made / ".secrets").iterdir()}


def test_a_folder_has_what_its_container_needs_and_nothing_else(made: Path) -> None:
    """No key but its own, and none of the authority or the issuer."""
    of_service = {*FILES.values(), "database-url"}
    for name in folders_made(made):
        others = {
            BROKER: {"ca.pem", "certificate.pem", "key.pem", "definitions.json"},
            DECLARER: {"ca.pem", "amqp-url"},
            "postgres": {"password"},
            "client": {"ca.pem"},
        }
        files = {path.name for path in (made / ".secrets" / name).iterdir()}
        assert files == others.get(name, of_service), name
    keys = {path.parent.name: path.read_bytes() for path in (made / ".secrets").glob("*/key.pem")}
    assert set(keys) == {*issuing.services(), BROKER}
    assert len(set(keys.values())) == len(keys)


def folders_made(made: Path) -> set[str]:
    """The folders that are for containers."""
    return {path.name for path in (made / ".secrets").iterdir()} - {"identity", "passwords"}


def test_what_is_made_once_stays(made: Path) -> None:
    """Volumes know the passwords, and clients the authority; a key that somebody has read is made anew."""
    before = contents(made / ".secrets")
    assert make_secrets(made, "compose").returncode == 0
    assert contents(made / ".secrets") == before
    (made / ".secrets/identity/order-service/key.pem").chmod(0o644)
    assert make_secrets(made, "compose").returncode == 0
    after = contents(made / ".secrets")
    changed = {name for name, content in after.items() if content != before[name]}
    assert changed == {
        f"{folder}order-service/{file}.pem" for folder in ("", "identity/") for file in ("key", "certificate")
    }


def test_a_service_takes_the_secrets_that_are_made_for_it(made: Path) -> None:
    """Its identity, and the URLs of its user of the broker and of the database, with the path they have here."""
    for path in (made / ".secrets").rglob("*"):
        os.chown(path, os.geteuid(), os.getegid())  # root has given them away
    for container in composed(scaled=True):
        folder = made / ".secrets" / container.name
        url = (folder / "amqp-url").read_text()
        (folder / "amqp-url").write_text(url.replace(MOUNTED, str(folder)))
        given = {name: text.replace(MOUNTED, str(folder)) for name, text in container.environment.items()}
        read = settings.read(KINDS[container.module], given)
        service = access.service_ids()[access.service_id(container.name)]
        assert Security.of(read, service).certificates is not None
        (broker,) = read.amqp_url
        assert vars(broker.parameters.credentials)["username"] == container.name
        assert (broker.parameters.host, broker.parameters.port) == ("rabbitmq", 5671)
        assert broker.parameters.ssl_options is not None
        assert read.database_url is not None


def test_the_broker_knows_the_users_by_their_passwords(made: Path) -> None:
    """And grants each what the contract does, and has no guest."""
    secrets = made / ".secrets"
    defined = json.loads((secrets / "rabbitmq/definitions.json").read_text())
    granted = json.loads(definitions.document(contract_permissions(), topology()))
    assert {name: defined[name] for name in granted} == granted
    assert {user["name"] for user in defined["users"]} == USERS
    for user in defined["users"]:
        url = (secrets / user["name"] / "amqp-url").read_text()
        password = url.split(":")[2].partition("@")[0].encode()
        salted = base64.b64decode(user["password_hash"])
        assert salted[4:] == hashlib.sha256(salted[:4] + password).digest()
        assert user["tags"] == []
    configuration = (DEPLOY / "rabbitmq.conf").read_text(encoding="utf-8")
    files = {path.name for path in (secrets / "rabbitmq").iterdir()}
    assert {Path(path).name for path in re.findall(rf"= ({MOUNTED}/\S+)$", configuration, re.MULTILINE)} == files
    assert "listeners.tcp = none" in configuration.splitlines()


def test_secrets_for_kubernetes_have_the_names_and_keys_that_pods_ask_for(tmp_path: Path) -> None:
    """All that are asked for, but those of operators; a certificate is as cert-manager would make it."""
    printed = json.loads(make_secrets(tmp_path, "kubernetes").stdout)["items"]
    held = {document["metadata"]["name"]: document for document in printed}
    assert len(held) == len(printed)
    (job,) = [document for document in documents("base") if document["kind"] == "Job"]
    for deployed in (*deployments("base"), Container("topology", {}, job)):
        for name, key in sources(deployed).values():
            assert key in held[name]["data"]
    for name in (*issuing.services(), BROKER):
        secret = held[f"{name}-identity"]
        assert (secret["type"], set(secret["data"])) == ("kubernetes.io/tls", {"tls.crt", "tls.key", "ca.crt"})
        key_pem = base64.b64decode(secret["data"]["tls.key"])
        assert key_pem == (tmp_path / ".secrets/identity" / name / "key.pem").read_bytes()
    for user in USERS:
        data = {key: base64.b64decode(value).decode() for key, value in held[f"{user}-broker"]["data"].items()}
        assert data["username"] == user
        assert f"//{user}:{data['password']}@rabbitmq:5671/" in data["url"]


def test_the_script_says_how_it_is_used(tmp_path: Path) -> None:
    """And what is in its way."""
    assert make_secrets(tmp_path).returncode == 2
    assert make_secrets(tmp_path, "everything").stderr.startswith("usage: ")
    (tmp_path / ".secrets/identity").mkdir(parents=True)
    (tmp_path / ".secrets/identity/something").touch()
    done = make_secrets(tmp_path, "compose")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "holds other things" in done.stderr
