"""The files in deploy/ say what the services rely on. Nothing is built or started: other checks are `nox -s deploy`."""

import base64
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ordersys.contract import access, addresses
from ordersys.contract.permissions import DECLARER, contract_permissions
from ordersys.contract.topology import topology
from ordersys.health import command_line
from ordersys.identity import issuing
from ordersys.local.system import USUAL_PORTS
from ordersys.notification_service_1.__main__ import Settings as NotificationSettings1
from ordersys.notification_service_2.__main__ import Settings as NotificationSettings2
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ProductSettings
from ordersys.runtime import relay
from ordersys.runtime.base import settings
from ordersys.runtime.rabbitmq import connection, consumer
from ordersys.runtime.rpc import streams
from ordersys.runtime.rpc.security import Security
from ordersys.runtime.settings import Settings
from ordersys.runtime.storage import postgresql_database
from ordersys.topology import definitions

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
KINDS: Mapping[str, type[Settings]] = {
    "product_service": ProductSettings,
    "order_service": OrderSettings,
    "notification_service_1": NotificationSettings1,
    "notification_service_2": NotificationSettings2,
}
DATABASE_URL_FILE = "ORDERSYS_DATABASE_URL_FILE"
INTERNAL = "ORDERSYS_ORDER_SERVICE_INTERNAL_ADDRESS"
INTERNAL_PORT = OrderSettings().order_service_internal_address.port
MOUNTED = "/run/ordersys"
"""The folder of its own secrets in each container."""
FILES: Mapping[str, str] = {
    "ORDERSYS_TLS_CA_FILE": "ca.pem",
    "ORDERSYS_TLS_CERTIFICATE_FILE": "certificate.pem",
    "ORDERSYS_TLS_KEY_FILE": "key.pem",
    "ORDERSYS_TOKEN_KEYS_FILE": "token-keys.json",
    "ORDERSYS_AMQP_URL_FILE": "amqp-url",
    "ORDERSYS_CA_FILE": "ca.pem",
}
"""The files that each service is told of: its identity, its user of the broker, and the authority, for probes."""
BROKER = "rabbitmq"
USERS = {granted.user for granted in contract_permissions()}
SECRETS_OF_COMPOSE = re.compile(r"\./\.secrets/([a-z0-9-]+):(\S+)")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a container
# The longest that is left to do once the grace period for calls is over: the last word of streams, the window and the
# deliveries under way, the end of the connection, which is waited for twice, and a commit that is not answered.
PARTING_SECONDS = (
    streams._LAST_WORD_SECONDS
    + relay._CLOSE_SECONDS
    + consumer._CLOSE_TIMEOUT_SECONDS
    + 2 * connection._CLOSE_TIMEOUT_SECONDS
    + postgresql_database._ANSWER_SECONDS
)


class Container(NamedTuple):
    """A service as it is deployed: its module, its environment, and all else that is said of it."""

    module: str
    environment: Mapping[str, str]
    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name by which others find it."""
        return self.module.replace("_", "-")


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    """The documents of an overlay, as kustomize makes them. Skips the test where there is no kubectl."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl, which renders the overlays, is not installed")
    command = [program, "kustomize", str(KUBERNETES / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@cache
def written() -> list[dict[str, Any]]:
    """The documents of the base, as they stand in its files."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((KUBERNETES / "base").glob("*.yaml")))
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def documents(where: str) -> list[dict[str, Any]]:
    """Those of the base, or of an overlay."""
    return written() if where == "base" else rendered(where)


def deployments(where: str) -> list[Container]:
    """The services of the base, or of an overlay."""
    return [_deployed(document) for document in documents(where) if document["kind"] == "Deployment"]


def _deployed(document: Mapping[str, Any]) -> Container:
    (container,) = document["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    return Container(container["args"][0].removeprefix("ordersys."), environment, document)


@cache
def compose(scaled: bool = False) -> Mapping[str, Any]:
    """The compose file, its anchors resolved, with the defaults of its variables or with those of the scaled system."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    given = {"ORDERSYS_USER": "1000:1000", **(scale() if scaled else {})}
    text = re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda variable: given.get(variable[1], variable[2]), text)
    loaded: Mapping[str, Any] = yaml.safe_load(text)
    return loaded


def scale() -> Mapping[str, str]:
    """The variables of the scaled system."""
    lines = (DEPLOY / "scale.env").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if not line.startswith("#")]
    return dict(pairs)


def composed(scaled: bool = False) -> list[Container]:
    """The services of the compose file that are ours."""
    return [
        Container(document["command"][0].removeprefix("ordersys."), document.get("environment", {}), document)
        for document in compose(scaled)["services"].values()
        if document.get("command", [""])[0].removeprefix("ordersys.") in KINDS
    ]


def everywhere() -> Iterator[Container]:
    """Each service of each way to deploy it, as far as it can be read here."""
    yield from composed()
    yield from composed(scaled=True)
    yield from deployments("base")
    if shutil.which("kubectl"):
        for overlay in OVERLAYS:
            yield from deployments(overlay)


PROBES: Mapping[str, Sequence[str]] = {
    "startupProbe": ("--service", streams.LIVENESS),
    "readinessProbe": (),
    "livenessProbe": ("--service", streams.LIVENESS),
}
"""The words of each behind the address; readiness asks for the empty name."""
every_place = pytest.mark.parametrize("where", ["base", *OVERLAYS])


def pod(container: Container) -> Mapping[str, Any]:
    """The specification of its pods."""
    specification: Mapping[str, Any] = container.document["spec"]["template"]["spec"]
    return specification


@every_place
def test_every_service_is_deployed(where: str) -> None:
    """Once, and it is a program of ours."""
    assert sorted(container.module for container in deployments(where)) == sorted(KINDS)
    assert sorted(container.module for container in composed()) == sorted(KINDS)
    assert all(find_spec(f"ordersys.{module}.__main__") for module in KINDS)


def test_each_variable_is_a_setting_of_its_service_with_a_value_it_takes() -> None:
    """One that is misspelt would have no effect."""
    for container in everywhere():
        kind = KINDS[container.module]
        known = {setting.variable for setting in settings.described(kind)}
        given = {name for name in container.environment if name.startswith(settings.PREFIX)}
        secret = {name for name in given - known if name.removesuffix("_FILE") in known}
        assert given <= known | secret | {"ORDERSYS_CA_FILE"}, container.name
        settings.read(kind, {name: container.environment[name] for name in given - secret})


def test_each_service_listens_at_its_usual_port_and_finds_the_others_by_their_names() -> None:
    """On all interfaces: it is alone in its network, and who reaches it is said by networks and policies."""
    for container in everywhere():
        own = f"ORDERSYS_{container.module.upper()}_ADDRESS"
        for variable, text in container.environment.items():
            if variable.endswith("_ADDRESS"):
                address = addresses.parse(text)
                module = variable.removeprefix("ORDERSYS_").removesuffix("_ADDRESS").lower()
                module = module.removesuffix("_internal")
                assert address.port == (INTERNAL_PORT if variable == INTERNAL else USUAL_PORTS[module])
                assert address.host == (EVERYWHERE if module == container.module else module.replace("_", "-"))
        assert own in container.environment
        assert (INTERNAL in container.environment) == (container.module in ("order_service", "product_service"))


@every_place
def test_ports_are_the_same_in_a_container_its_service_and_its_probes(where: str) -> None:
    """The Service is headless, so that clients see each pod."""
    services = {d["metadata"]["name"]: d["spec"] for d in documents(where) if d["kind"] == "Service"}
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        internal = {"internal": INTERNAL_PORT} if deployed.module == "order_service" else {}
        assert ports == {"grpc": USUAL_PORTS[deployed.module], **internal}
        assert {port["targetPort"]: port["port"] for port in services[deployed.name]["ports"]} == ports
        assert services[deployed.name]["clusterIP"] == "None"
        labels = deployed.document["spec"]["template"]["metadata"]["labels"]
        assert services[deployed.name]["selector"].items() <= labels.items()
        assert deployed.document["spec"]["selector"]["matchLabels"].items() <= labels.items()
        for probe in PROBES:
            assert container[probe]["exec"]["command"][3] == f"127.0.0.1:{ports['grpc']}"


@every_place
def test_only_readiness_depends_on_broker_and_database(where: str) -> None:
    """Kubernetes restarts what is not alive; a restart brings no broker back."""
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        for probe, asked in PROBES.items():
            assert container[probe]["exec"]["command"][:3] == ["python", "-m", "ordersys.health"]
            assert container[probe]["exec"]["command"][4:] == [*asked]


@every_place
def test_probes_speak_tls_and_take_their_time(where: str) -> None:
    """Programs in the container, since Kubernetes' own speak none; each ends before the next begins, or is late."""
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        for probe in PROBES:
            assert set(container[probe]) == {"exec", "periodSeconds", "timeoutSeconds", "failureThreshold"}
            assert container[probe]["timeoutSeconds"] > command_line._SECONDS
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["periodSeconds"] >= 2 * container[probe]["timeoutSeconds"]


@every_place
def test_a_pod_has_time_to_end(where: str) -> None:
    """Before it is killed: for the pause of preStop, for the calls under way, and for parting."""
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace = int(deployed.environment["ORDERSYS_GRACE_SECONDS"])
        assert pod(deployed)["terminationGracePeriodSeconds"] > pause + grace + PARTING_SECONDS


def test_a_composed_service_has_time_to_end() -> None:
    """Docker waits 10 s otherwise."""
    for container in composed():
        seconds = int(container.document["stop_grace_period"].removesuffix("s"))
        assert seconds > int(container.environment["ORDERSYS_GRACE_SECONDS"]) + PARTING_SECONDS


def test_a_composed_service_is_asked_whether_it_works() -> None:
    """At its own port, by the program that is in the image; its probes end before the next begins."""
    for container in composed():
        check = container.document["healthcheck"]
        assert check["test"] == [
            "CMD", "python", "-m", "ordersys.health", f"127.0.0.1:{USUAL_PORTS[container.module]}"
        ]  # fmt: skip
        assert int(check["timeout"].removesuffix("s")) < int(check["interval"].removesuffix("s"))
        assert container.document["depends_on"]["rabbitmq"] == {"condition": "service_healthy"}
        assert container.document["depends_on"]["topology"] == {"condition": "service_completed_successfully"}


@every_place
def test_nobody_is_root_or_writes_into_the_image(where: str) -> None:
    """The user is a number, the same in the image, where runAsNonRoot can check nothing else."""
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.rindex("USER") > DOCKERFILE.rindex("FROM")
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        assert pod(deployed)["securityContext"]["runAsUser"] == int(user) == pod(deployed)["securityContext"]["fsGroup"]
        assert pod(deployed)["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_image_runs_python_itself() -> None:
    """In exec form: a shell would keep SIGTERM to itself. Each thing that is copied is there, and is not ignored."""
    for instruction in ("ENTRYPOINT", "CMD"):
        assert re.search(rf'^{instruction} \["', DOCKERFILE, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for sources in re.findall(r"^COPY ([^-\n]+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored
    assert not re.search(r"\b(curl|wget|apt-get|ADD)\b", DOCKERFILE)


def test_the_image_has_the_version_of_the_package() -> None:
    """Its label, and the tag that is deployed."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert f'org.opencontainers.image.version="{version}"' in DOCKERFILE
    assert {container.document["image"] for container in composed()} == {f"ordersys:{version}"}
    (image,) = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())["images"]
    assert str(image["newTag"]) == version


@every_place
def test_a_pod_may_use_more_than_clients_can_bring_a_service_to(where: str) -> None:
    """Else one that is used a lot would be killed before it refuses anything."""
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
        assert limit >= 2 * settings.read(KINDS[deployed.module], {}).max_memory_mib


def test_several_processes_of_a_service_share_a_database_server() -> None:
    """A file belongs to one process: it has no other beside it, not even while it is replaced."""
    for container in everywhere():
        shares = bool(container.environment.get(DATABASE_URL_FILE))
        if "deploy" in container.document:
            assert (int(container.document["deploy"]["replicas"]) > 1) == shares
            continue
        specification = container.document["spec"]
        # Without a number an autoscaler decides; the base has one.
        assert shares or specification["replicas"] == 1
        if "ORDERSYS_DATA_DIR" in container.environment:
            assert not shares
            assert specification["strategy"] == {"type": "Recreate"}
        elif shares:
            assert specification["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_a_scaled_service_has_a_port_for_each_process() -> None:
    """Of the machine; two processes can't have one."""
    for scaled in (False, True):
        (product,) = (container for container in composed(scaled) if container.module == "product_service")
        (published,) = product.document["ports"]
        first, _, last = published.split(":")[1].partition("-")
        assert int(last or first) - int(first) + 1 == int(product.document["deploy"]["replicas"])
        assert not [c.name for c in composed(scaled) if "ports" in c.document and c.module != "product_service"]


def by_name(overlay: str, kind: str) -> dict[str, Any]:
    """The specifications of a kind in an overlay."""
    return {
        document["metadata"]["name"]: document["spec"] for document in rendered(overlay) if document["kind"] == kind
    }


def most_processes(overlay: str) -> Mapping[str, int]:
    """The most pods of each service there may be, one of a rolling upgrade among them."""
    scalers = by_name(overlay, "HorizontalPodAutoscaler")
    numbers = {deployed.name: deployed.document["spec"].get("replicas") for deployed in deployments(overlay)}
    return {name: (number or scalers[name]["maxReplicas"]) + 1 for name, number in numbers.items()}


def test_the_database_takes_the_connections_of_all_processes() -> None:
    """As many as autoscalers may start, in the midst of an upgrade; PostgreSQL keeps three for its superuser."""
    each = postgresql_database._WRITERS + postgresql_database._READERS
    (cluster,) = by_name("replicated", "Cluster").values()
    most = int(cluster["postgresql"]["parameters"]["max_connections"]) - 3
    assert sum(most_processes("replicated").values()) * each < most


def test_an_answered_call_survives_the_loss_of_a_primary() -> None:
    """A standby has it: else a failover would lose what was answered last."""
    (cluster,) = by_name("replicated", "Cluster").values()
    assert cluster["instances"] >= 3
    assert cluster["postgresql"]["synchronous"]["dataDurability"] == "required"


def test_each_replicated_service_can_lose_one_process() -> None:
    """Two at least, and no more than one is taken away on purpose; autoscalers and budgets name what exists."""
    scalers, budgets = by_name("replicated", "HorizontalPodAutoscaler"), by_name("replicated", "PodDisruptionBudget")
    names = {deployed.name for deployed in deployments("replicated")}
    assert set(scalers) <= names == set(budgets)
    for deployed in deployments("replicated"):
        scaler = scalers.get(deployed.name)
        assert (scaler is None) == ("replicas" in deployed.document["spec"])  # each apply would set the number back
        assert (deployed.document["spec"]["replicas"] if scaler is None else scaler["minReplicas"]) >= 2
        assert scaler is None or scaler["scaleTargetRef"]["name"] == deployed.name
        labels = deployed.document["spec"]["template"]["metadata"]["labels"]
        assert budgets[deployed.name]["selector"]["matchLabels"].items() <= labels.items()
        for constraint in pod(deployed)["topologySpreadConstraints"]:
            assert constraint["labelSelector"]["matchLabels"] == {"app.kubernetes.io/name": deployed.name}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_state_has_a_place_in_every_overlay(overlay: str) -> None:
    """On a volume of its own that outlives the pod, or in a database."""
    for deployed in deployments(overlay):
        if DATABASE_URL_FILE in deployed.environment:
            continue
        (container,) = pod(deployed)["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        folder = Path(deployed.environment["ORDERSYS_DATA_DIR"])
        volumes = {volume["name"]: volume for volume in pod(deployed)["volumes"]}
        claim = volumes[mounts[str(folder.parent)]]["persistentVolumeClaim"]["claimName"]
        assert claim in {d["metadata"]["name"] for d in rendered(overlay) if d["kind"] == "PersistentVolumeClaim"}


@every_place
def test_policies_let_those_call_who_have_to(where: str) -> None:
    """All else is denied; clients are pods with a label of their own."""
    policies = {d["metadata"]["name"]: d["spec"] for d in documents(where) if d["kind"] == "NetworkPolicy"}
    everybody = policies["deny-all"]["podSelector"]["matchLabels"]
    assert set(policies["deny-all"]) == {"podSelector", "policyTypes"}
    for deployed in deployments(where):
        assert everybody.items() <= deployed.document["spec"]["template"]["metadata"]["labels"].items()
        policy = policies[deployed.name]
        assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": deployed.name}
        rules = {port["port"]: rule["from"] for rule in policy["ingress"] for port in rule["ports"]}
        internal = {INTERNAL_PORT: callers("app.kubernetes.io/name", "product-service")}
        assert rules == {
            USUAL_PORTS[deployed.module]: callers("ordersys/client", "true"),
            **(internal if deployed.module == "order_service" else {}),
        }
    (rule,) = policies["product-service-to-order-service"]["egress"]
    assert rule["to"] == callers("app.kubernetes.io/name", "order-service")
    assert [port["port"] for port in rule["ports"]] == [INTERNAL_PORT]
    (rule,) = policies["broker"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [5671]


def callers(label: str, value: str) -> Sequence[Any]:
    """Those with this label, as a policy names them."""
    return [{"podSelector": {"matchLabels": {label: value}}}]


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


def folders(service: Mapping[str, Any]) -> Mapping[str, str]:
    """The folders of secrets that a service of the compose file has, by where they are mounted."""
    matches = [SECRETS_OF_COMPOSE.fullmatch(volume) for volume in service.get("volumes", [])]
    return {match[2]: match[1] for match in matches if match}


def test_a_composed_service_has_its_own_secrets_and_no_others() -> None:
    """Read-only. The keys of the authority and of the issuer are for whoever makes tokens, whom no network reaches."""
    for name, service in compose()["services"].items():
        assert not [v for v in service.get("volumes", []) if ".secrets" in v and not SECRETS_OF_COMPOSE.fullmatch(v)]
        if name == "token":
            assert folders(service) == {"/identity:ro": "identity", "/client": "client"}
            assert service["network_mode"] == "none"
            assert "networks" not in service
            continue
        assert folders(service) == {f"{MOUNTED}:ro": name}


def test_those_who_read_keys_run_as_whoever_made_them() -> None:
    """A service takes no key of another user, and RabbitMQ could not read one."""
    for name, service in compose()["services"].items():
        assert name == "postgres" or service["user"] == "1000:1000"


def sources(deployed: Container) -> Mapping[str, tuple[str, str]]:
    """Each file that a pod has of its secrets: the Secret or ConfigMap, and the key in it."""
    specification = pod(deployed)
    (container,) = specification["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == MOUNTED]
    assert mount["readOnly"]
    (volume,) = [volume["projected"] for volume in specification["volumes"] if volume["name"] == mount["name"]]
    assert volume["defaultMode"] == 0o440
    held_by: dict[str, tuple[str, str]] = {}
    for source in volume["sources"]:
        ((_, held),) = source.items()
        held_by |= {item["path"]: (held["name"], item["key"]) for item in held.get("items", ())}
    return held_by


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


def component(name: str) -> list[dict[str, Any]]:
    """The documents of a component."""
    folder = KUBERNETES / "components" / name
    resources = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    texts = [(folder / resource).read_text(encoding="utf-8") for resource in resources]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


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


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder in which the script was run for Compose."""
    assert make_secrets(tmp_path, "compose").returncode == 0
    return tmp_path


def make_secrets(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the script in a folder of its own, with this Python in the place of the image's."""
    for name in ("make-secrets.sh", "make_secrets.py"):
        shutil.copy(DEPLOY / name, folder)
    # An umask that hides nothing: the script has to.
    command = ["sh", "-c", 'umask 0; exec "$0" "$@"', str(folder / "make-secrets.sh"), *arguments]
    environment = {"PATH": os.environ["PATH"], "ORDERSYS_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


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
