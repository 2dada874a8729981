"""Each container has its own secrets and no others, and each user of the broker what the contract grants it."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from ordersys.contract import access
from ordersys.contract.permissions import DECLARER, contract_permissions
from ordersys.contract.topology import topology
from ordersys.identity import issuing
from ordersys.topology import definitions
from tests.deployment import (
    BROKER,
    DATABASE_URL_FILE,
    DEPLOY,
    FILES,
    KUBERNETES,
    MOUNTED,
    ROOT,
    SECRETS_OF_COMPOSE,
    USERS,
    Container,
    component,
    compose,
    deployments,
    documents,
    every_place,
    everywhere,
    folders,
    pod,
    sources,
)


@every_place
def test_no_secret_is_committed(where: str) -> None:
    """Each is made by a script, or by an operator."""
    assert not [document for document in documents(where) if document["kind"] == "Secret"]
    for path in (path for path in DEPLOY.rglob("*") if path.is_file() and ".secrets" not in path.parts):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"://[^/\s{]+:[^@\s{]+@", text), path
        assert "PRIVATE KEY" not in text, path
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/deploy/.secrets/", "/deploy/.env"} <= set(ignored)


def test_nobody_is_told_to_do_without_an_identity() -> None:
    """In a container nobody would reach it: it would serve loopback addresses only."""
    for path in DEPLOY.rglob("*"):
        assert not path.is_file() or "ORDERSYS_INSECURE" not in path.read_text(encoding="utf-8"), path


def test_secrets_are_files_and_not_in_the_environment() -> None:
    """There `docker inspect`, and each process that a service starts, would have them."""
    mounted = {variable: f"{MOUNTED}/{file}" for variable, file in FILES.items()}
    for container in everywhere():
        assert mounted.items() <= container.environment.items(), container.name
        assert container.environment.get(DATABASE_URL_FILE, "") in ("", f"{MOUNTED}/database-url")
    for name, service in compose()["services"].items():
        assert "env_file" not in service, name
        secret = [variable for variable in service.get("environment", {}) if re.search("URL|PASS|TOKEN", variable)]
        assert all(variable.endswith("_FILE") for variable in secret), name


def test_a_composed_service_has_its_own_secrets_and_no_others() -> None:
    """Read-only. The keys of the authority and of the issuer are for whoever makes tokens, whom no network reaches."""
    for name, service in compose()["services"].items():
        assert not [v for v in service.get("volumes", []) if ".secrets" in v and not SECRETS_OF_COMPOSE.fullmatch(v)]
        if name == "token":
            assert folders(service) == {"/identity:ro": "identity", "/client": "client"}
            assert service["network_mode"] == "none"
            assert "networks" not in service
            continue
        assert folders(service) == ({} if name == "prometheus" else {f"{MOUNTED}:ro": name})


def test_those_who_read_keys_run_as_whoever_made_them() -> None:
    """A service takes no key of another user, and RabbitMQ could not read one."""
    for name, service in compose()["services"].items():
        assert name in ("postgres", "prometheus") or service["user"] == "1000:1000"


@every_place
def test_a_pod_has_its_own_secrets_and_no_others(where: str) -> None:
    """As one folder: a file that is mounted by itself never changes. Root's, and readable by the pod's group alone."""
    for deployed in deployments(where):
        files = {**sources(deployed)}
        assert files.pop("database-url", None) in (None, ("postgres-app", "uri"), ("ordersys-database", "url"))
        assert files == {
            "ca.pem": (f"{deployed.name}-identity", "ca.crt"),
            "certificate.pem": (f"{deployed.name}-identity", "tls.crt"),
            "key.pem": (f"{deployed.name}-identity", "tls.key"),
            "token-keys.json": ("ordersys-token-keys", "token-keys.json"),
            "amqp-url": (f"{deployed.name}-broker", "url"),
        }
        # No Secret comes by another way.
        text = json.dumps({**deployed.document})
        assert text.count("secretKeyRef") == text.count("envFrom") == text.count('"secretName"') == 0


@every_place
def test_one_job_declares_the_topology(where: str) -> None:
    """With the user that alone may; it has no certificate."""
    (job,) = [document for document in documents(where) if document["kind"] == "Job"]
    declarer = Container("topology", {}, job)
    (container,) = pod(declarer)["containers"]
    assert container["args"] == ["ordersys.topology", "declare"]
    assert sources(declarer) == {
        "ca.pem": ("rabbitmq-identity", "ca.crt"),
        "amqp-url": (f"{DECLARER}-broker", "url"),
    }
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "ordersys"  # or no policy lets it reach the broker
    assert job["spec"]["ttlSecondsAfterFinished"] > 0


def test_the_operator_grants_what_the_contract_does() -> None:
    """To each user of it, and to nobody else."""
    resources = component("rabbitmq-operator")
    specs = {kind: [d["spec"] for d in resources if d["kind"] == kind] for kind in ("Permission", "TopicPermission")}
    granted = json.loads(definitions.document(contract_permissions(), topology()))
    assert [_granted(spec) for spec in specs["Permission"]] == granted["permissions"]
    assert [_granted(spec) for spec in specs["TopicPermission"]] == granted["topic_permissions"]
    users = {d["metadata"]["name"]: d["spec"] for d in resources if d["kind"] == "User"}
    assert set(users) == USERS
    for user, spec in users.items():
        assert spec["importCredentialsSecret"] == {"name": f"{user}-broker"}
        assert "tags" not in spec
    clusters = {spec["rabbitmqClusterReference"]["name"] for each in (*specs.values(), users.values()) for spec in each}
    assert clusters == {d["metadata"]["name"] for d in resources if d["kind"] == "RabbitmqCluster"}


def _granted(spec: Mapping[str, Any]) -> Mapping[str, str]:
    """A permission of the operator's as RabbitMQ defines it."""
    return {"user": spec["userReference"]["name"], "vhost": spec["vhost"], **spec["permissions"]}


def test_the_broker_of_the_operator_speaks_tls() -> None:
    """With its own certificate, at the port that policies allow; operators have one in clear, and are told so."""
    (cluster,) = [d for d in component("rabbitmq-operator") if d["kind"] == "RabbitmqCluster"]
    assert cluster["spec"]["tls"] == {"secretName": "rabbitmq-identity"}
    assert "auth_mechanisms.1 = PLAIN" in cluster["spec"]["rabbitmq"]["additionalConfig"]
    address = f"http://{cluster['metadata']['name']}.{namespace()}.svc:15672"
    assert cluster["metadata"]["annotations"] == {"rabbitmq.com/operator-connection-uri": address}


def namespace() -> str:
    """The namespace of everything."""
    name: str = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text(encoding="utf-8"))["namespace"]
    return name


def test_cert_manager_makes_the_certificates_that_services_take() -> None:
    """One URI; the service's name before all others; an address for the probes; in the Secrets that pods have."""
    certificates = {d["metadata"]["name"]: d["spec"] for d in component("cert-manager") if d["kind"] == "Certificate"}
    authority = certificates.pop("ordersys-authority")
    assert set(certificates) == {*issuing.services(), BROKER}
    for name, spec in certificates.items():
        assert spec["secretName"] == f"{name}-identity"
        is_service = name != BROKER  # which no service takes for one
        assert spec.get("uris", []) == [access.service_id(name)] * is_service
        assert spec["dnsNames"][0] == name
        assert spec.get("ipAddresses", []) == ["127.0.0.1"] * is_service
        assert set(spec["usages"]) == {"digital signature", "server auth", *["client auth"] * is_service}
        assert spec["privateKey"]["algorithm"] == "ECDSA"
        assert _hours(spec["renewBefore"]) < _hours(spec["duration"]) == 24 * issuing.DAYS
        # None outlives the authority that signs it.
        assert _hours(authority["renewBefore"]) > _hours(spec["duration"])
    assert authority["isCA"]


def _hours(duration: str) -> int:
    return int(duration.removesuffix("h"))
