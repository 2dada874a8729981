"""The files in deploy/, read: each service of each way to deploy it, and its secrets."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ordersys.contract.permissions import contract_permissions
from ordersys.notification_service_1.__main__ import Settings as NotificationSettings1
from ordersys.notification_service_2.__main__ import Settings as NotificationSettings2
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ProductSettings
from ordersys.runtime.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
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


def component(name: str) -> list[dict[str, Any]]:
    """The documents of a component."""
    folder = KUBERNETES / "components" / name
    resources = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    texts = [(folder / resource).read_text(encoding="utf-8") for resource in resources]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


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


every_place = pytest.mark.parametrize("where", ["base", *OVERLAYS])


def pod(container: Container) -> Mapping[str, Any]:
    """The specification of its pods."""
    specification: Mapping[str, Any] = container.document["spec"]["template"]["spec"]
    return specification


def folders(service: Mapping[str, Any]) -> Mapping[str, str]:
    """The folders of secrets that a service of the compose file has, by where they are mounted."""
    matches = [SECRETS_OF_COMPOSE.fullmatch(volume) for volume in service.get("volumes", [])]
    return {match[2]: match[1] for match in matches if match}


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
