"""The files in deploy/ say what the services rely on. Nothing is built or started: other checks are `nox -s deploy`."""

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from ordersys.contract import addresses
from ordersys.health import command_line
from ordersys.local.system import USUAL_PORTS
from ordersys.runtime import relay
from ordersys.runtime.base import settings
from ordersys.runtime.rabbitmq import connection, consumer
from ordersys.runtime.rpc import streams
from ordersys.runtime.storage import postgresql_database
from tests.deployment import (
    DATABASE_URL_FILE,
    DEPLOY,
    INTERNAL,
    INTERNAL_PORT,
    KINDS,
    KUBERNETES,
    OVERLAYS,
    ROOT,
    component,
    compose,
    composed,
    deployments,
    documents,
    every_place,
    everywhere,
    pod,
    rendered,
)

METRICS = "ORDERSYS_METRICS_ADDRESS"
METRICS_PORT = 9464
"""The port that exporters of Prometheus have by default in OpenTelemetry."""
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
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
PROBES: Mapping[str, Sequence[str]] = {
    "startupProbe": ("--service", streams.LIVENESS),
    "readinessProbe": (),
    "livenessProbe": ("--service", streams.LIVENESS),
}
"""The words of each behind the address; readiness asks for the empty name."""


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
            if variable.endswith("_ADDRESS") and variable != METRICS:
                address = addresses.parse(text)
                module = variable.removeprefix("ORDERSYS_").removesuffix("_ADDRESS").lower()
                module = module.removesuffix("_internal")
                assert address.port == (INTERNAL_PORT if variable == INTERNAL else USUAL_PORTS[module])
                assert address.host == (EVERYWHERE if module == container.module else module.replace("_", "-"))
        assert own in container.environment
        assert (INTERNAL in container.environment) == (container.module in ("order_service", "product_service"))


def test_each_process_serves_its_metrics_at_the_port_that_prometheus_is_given() -> None:
    """By all ways in which it is found: names in a network, ports of pods, annotations."""
    (job,) = yaml.safe_load((DEPLOY / "observability/prometheus-compose.yaml").read_text("utf-8"))["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    assert (sorted(names["names"]), names["port"]) == (sorted(deployed.name for deployed in composed()), METRICS_PORT)
    for deployed in everywhere():
        assert addresses.parse(deployed.environment[METRICS]) == (EVERYWHERE, METRICS_PORT)
    for deployed in deployments("base"):
        annotations = deployed.document["spec"]["template"]["metadata"]["annotations"]
        assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)}


def test_prometheus_of_the_compose_file_has_the_files_it_is_started_with() -> None:
    """In the folder that is mounted; it is reached from this machine alone."""
    prometheus = compose()["services"]["prometheus"]
    assert prometheus["ports"] == ["127.0.0.1:9090:9090"]
    mounted = dict(reversed(volume.removesuffix(":ro").split(":")) for volume in prometheus["volumes"])
    configuration = Path(prometheus["command"][0].removeprefix("--config.file="))
    assert (DEPLOY / mounted[str(configuration.parent)] / configuration.name).is_file()


def test_the_prometheus_operator_finds_each_pod_and_names_its_service() -> None:
    """By their label and the name of the port; the job is the one that alerts are about."""
    (monitor,) = [d["spec"] for d in component("prometheus-operator") if d["kind"] == "PodMonitor"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    for deployed in deployments("base"):
        labels = deployed.document["spec"]["template"]["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        assert labels[monitor["jobLabel"]] == "ordersys"
        (container,) = pod(deployed)["containers"]
        assert endpoint["port"] in {port["name"] for port in container["ports"]}
    assert [relabeling["targetLabel"] for relabeling in endpoint["relabelings"]] == ["service"]


@every_place
def test_ports_are_the_same_in_a_container_its_service_and_its_probes(where: str) -> None:
    """The Service is headless, so that clients see each pod."""
    services = {d["metadata"]["name"]: d["spec"] for d in documents(where) if d["kind"] == "Service"}
    for deployed in deployments(where):
        (container,) = pod(deployed)["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        internal = {"internal": INTERNAL_PORT} if deployed.module == "order_service" else {}
        # Prometheus looks up pods, not the Service.
        assert ports.pop("metrics") == METRICS_PORT
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
    (rule,) = policies["metrics"]["ingress"]
    assert policies["metrics"]["podSelector"] == policies["deny-all"]["podSelector"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert [port["port"] for port in rule["ports"]] == [METRICS_PORT]
    (rule,) = policies["broker"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [5671]


def callers(label: str, value: str) -> Sequence[Any]:
    """Those with this label, as a policy names them."""
    return [{"podSelector": {"matchLabels": {label: value}}}]


def test_an_issuer_of_ones_own_takes_the_place_of_the_keys_in_files() -> None:
    """The component removes, of every service, the setting that excludes a URL, and the file it names."""
    folder = KUBERNETES / "components" / "issuer"
    component = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    merged, (removal,) = (yaml.safe_load(patch["patch"]) for patch in component["patches"])
    assert {patch["target"]["kind"] for patch in component["patches"]} == {"Deployment"}
    (container,) = merged["spec"]["template"]["spec"]["containers"]
    removed = [entry["name"] for entry in container["env"] if entry["$patch"] == "delete"]
    for deployed in deployments("base"):
        left = {name: value for name, value in deployed.environment.items() if name not in removed}
        assert len(left) == len(deployed.environment) - len(removed)
        url = {"ORDERSYS_TOKEN_KEYS_URL": "https://login.example/keys"}
        kept = {name: value for name, value in left.items() if not name.endswith("_FILE")}
        assert settings.read(KINDS[deployed.module], {**kept, **url}).token_keys_url
        node: Any = deployed.document
        for step in removal["path"].strip("/").split("/"):
            node = node[int(step)] if step.isdigit() else node[step]
        assert (removal["op"], node["configMap"]["name"]) == ("remove", "ordersys-token-keys")
