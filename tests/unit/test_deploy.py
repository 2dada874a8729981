"""The files in deploy/ say what the services rely on. Nothing is built or started: other checks are `nox -s deploy`."""

import base64
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ordersys.contract import addresses
from ordersys.local.system import USUAL_PORTS
from ordersys.notification_service_1.__main__ import Settings as NotificationSettings1
from ordersys.notification_service_2.__main__ import Settings as NotificationSettings2
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ProductSettings
from ordersys.runtime import relay
from ordersys.runtime.base import settings
from ordersys.runtime.rabbitmq import connection, consumer
from ordersys.runtime.rpc import streams
from ordersys.runtime.settings import Settings
from ordersys.runtime.storage import postgresql_database

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
DATABASE_URL = "ORDERSYS_DATABASE_URL"
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
    """A value that a Secret has is empty."""
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
    environment = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    return Container(container["args"][0].removeprefix("ordersys."), environment, document)


@cache
def compose(scaled: bool = False) -> Mapping[str, Any]:
    """The compose file, its anchors resolved, with the defaults of its variables or with those of the scaled system."""
    given = {"REPLICAS": "3", "PRODUCT_PORTS": "50051-50053", DATABASE_URL: "postgresql://u:p@postgres:5432/d"}
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    wanted = given if scaled else {}
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda variable: wanted.get(variable[1], variable[2]), text)
    loaded: Mapping[str, Any] = yaml.safe_load(text)
    return loaded


def composed(scaled: bool = False) -> list[Container]:
    """The services of the compose file that are ours."""
    return [
        Container(document["command"][0].removeprefix("ordersys."), document.get("environment", {}), document)
        for document in compose(scaled)["services"].values()
        if document.get("command", [""])[0].startswith("ordersys.")
    ]


def everywhere() -> Iterator[Container]:
    """Each service of each way to deploy it, as far as it can be read here."""
    yield from composed()
    yield from composed(scaled=True)
    yield from deployments("base")
    if shutil.which("kubectl"):
        for overlay in OVERLAYS:
            yield from deployments(overlay)


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
        assert given <= known, container.name
        settings.read(kind, {name: container.environment[name] for name in given})


def test_each_service_listens_at_its_usual_port_and_finds_the_others_by_their_names() -> None:
    """On all interfaces: it is alone in its network, and who reaches it is said by networks and policies."""
    for container in everywhere():
        own = f"ORDERSYS_{container.module.upper()}_ADDRESS"
        for variable, text in container.environment.items():
            if variable.endswith("_ADDRESS"):
                address = addresses.parse(text)
                module = variable.removeprefix("ORDERSYS_").removesuffix("_ADDRESS").lower()
                assert address.port == USUAL_PORTS[module]
                assert address.host == (EVERYWHERE if variable == own else module.replace("_", "-"))
        assert own in container.environment
        asked = {"ORDERSYS_ORDER_SERVICE_ADDRESS"} if container.module == "product_service" else set()
        assert asked <= set(container.environment)


@every_place
def test_ports_are_the_same_in_a_container_its_service_and_its_probes(where: str) -> None:
    """By number, since a gRPC probe takes no name; the Service is headless, so that clients see each pod."""
    services = {d["metadata"]["name"]: d["spec"] for d in documents(where) if d["kind"] == "Service"}
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"grpc": USUAL_PORTS[deployed.module]}
        (port,) = services[deployed.name]["ports"]
        assert (port["port"], port["targetPort"]) == (ports["grpc"], "grpc")
        assert services[deployed.name]["clusterIP"] == "None"
        labels = deployed.document["spec"]["template"]["metadata"]["labels"]
        assert services[deployed.name]["selector"].items() <= labels.items()
        assert deployed.document["spec"]["selector"]["matchLabels"].items() <= labels.items()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] == ports["grpc"]


@every_place
def test_only_readiness_depends_on_broker_and_database(where: str) -> None:
    """Kubernetes restarts what is not alive; a restart brings no broker back."""
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        assert container["livenessProbe"]["grpc"]["service"] == streams.LIVENESS
        assert container["startupProbe"]["grpc"]["service"] == streams.LIVENESS
        assert container["readinessProbe"]["grpc"].get("service", "") == ""


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
        shares = container.environment.get(DATABASE_URL, "none") != "none"
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
        if DATABASE_URL in deployed.environment:
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
        (rule,) = policy["ingress"]
        assert [port["port"] for port in rule["ports"]] == [USUAL_PORTS[deployed.module]]
        callers = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
        product = {"app.kubernetes.io/name": "product-service"}
        assert (product in callers) == (deployed.module == "order_service")
    (rule,) = policies["product-service-to-order-service"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [USUAL_PORTS["order_service"]]


@every_place
def test_no_secret_is_committed(where: str) -> None:
    """Passwords are made by a script, or by an operator, and come from a Secret."""
    assert not [document for document in documents(where) if document["kind"] == "Secret"]
    for deployed in deployments(where):
        assert deployed.environment["ORDERSYS_AMQP_URL"] == deployed.environment.get(DATABASE_URL, "") == ""
    for path in DEPLOY.rglob("*.yaml"):
        assert not re.search(r"://[^/\s]+:[^@\s]+@", path.read_text(encoding="utf-8")), path
    assert "/deploy/.secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def make_secrets(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Runs the script in a folder of its own."""
    script = folder / "make-secrets.sh"
    shutil.copy(DEPLOY / "make-secrets.sh", script)
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [str(script), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_secrets_for_compose_are_random_private_and_never_overwritten(tmp_path: Path) -> None:
    """Services are given the password the broker is given."""
    assert make_secrets(tmp_path, "compose").returncode == 0
    files = {path.name: path for path in (tmp_path / ".secrets").iterdir()}
    asked = {name for service in compose()["services"].values() for name in service.get("env_file", [])}
    assert {f".secrets/{name}" for name in files} == {*asked, ".secrets/scale.env"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    given = dict(
        line.split("=", 1) for path in files.values() for line in path.read_text(encoding="ascii").splitlines()
    )
    (broker,) = settings.read(Settings, given).amqp_url
    assert vars(broker.parameters.credentials)["password"] == given["RABBITMQ_DEFAULT_PASS"]
    assert broker.parameters.host in compose()["services"]
    assert f":{given['POSTGRES_PASSWORD']}@postgres:5432/{given['POSTGRES_DB']}" in given[DATABASE_URL]
    assert settings.read(Settings, given).database_url is not None
    assert set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text())) <= set(given)
    again = make_secrets(tmp_path, "compose")
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert files["rabbitmq.env"].read_text().endswith(f"{given['RABBITMQ_DEFAULT_PASS']}\n")


def test_secrets_for_kubernetes_have_the_names_that_pods_ask_for(tmp_path: Path) -> None:
    """A URL may have any character in it; without one there is no Secret."""
    url = "amqp://a:b%2F'\"$x@host:5672/%2F"
    done = make_secrets(tmp_path, "kubernetes", ORDERSYS_AMQP_URL=url, ORDERSYS_DATABASE_URL="postgresql://h/d")
    secret, database = yaml.safe_load_all(done.stdout)
    assert base64.b64decode(database["data"]["url"]).decode() == "postgresql://h/d"
    assert base64.b64decode(secret["data"]["url"]).decode() == url
    for deployed in deployments("base"):
        (container,) = pod(deployed)["containers"]
        (entry,) = [entry for entry in container["env"] if "valueFrom" in entry]
        assert entry["valueFrom"]["secretKeyRef"] == {"name": secret["metadata"]["name"], "key": "url"}
    assert make_secrets(tmp_path, "kubernetes").returncode == 1
    assert make_secrets(tmp_path).returncode == 2
