"""The command `doctor`: examines the environment of clients and services, and gives each trouble its way out.

It judges the settings of the services, too, by their own rules (`local.environment`), so that a wrong one is worded as
the service would word it. What it needs of gRPC and of the stubs is imported when it is examined: either may be wrong.
"""

import argparse
import asyncio
import os
import socket
import ssl
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ordersys.console import output
from ordersys.console.parser import UsageError
from ordersys.grpc_client import outcome
from ordersys.grpc_client.parser import JSON, TABLE
from ordersys.grpc_client.peers import PEERS, Peer, Peers, variable

if TYPE_CHECKING:  # it needs gRPC, which may be what is wrong
    from ordersys.grpc_client.credentials import Credentials

OK, NOTE, WRONG = "ok", "note", "wrong"
_LEAST_PYTHON = (3, 11)
# The dependencies of pyproject.toml that every system needs.
PACKAGES = (
    "cryptography",
    "googleapis-common-protos",
    "grpcio",
    "grpcio-health-checking",
    "grpcio-reflection",
    "grpcio-status",
    "pika",
    "prometheus-client",
    "protobuf",
    "protobuf-py",
    "protovalidate",
    "psutil",
    "pyjwt",
    "rich",
    "sqlalchemy",
)
_STUBS = "ordersys.api.product.v1.product_service_pb2_grpc"
_CONNECT_SECONDS = 2.0
_OTHERS_MAY_WRITE = 0o022


@dataclass(frozen=True)
class Finding:
    """The result of one examination."""

    subject: str
    state: str
    text: str
    remedy: str = ""
    status: int = outcome.DONE
    """The exit status it calls for."""


def doctor(arguments: argparse.Namespace) -> int:
    """Examines everything; 2 where the environment is wrong, 3 where it is right and a service does not work."""
    findings = list(_installation())
    if all(finding.state != WRONG for finding in findings):
        findings += [*_settings(), *_data_dir(), *_broker(arguments.data_dir), *_services(arguments)]
    _show(arguments, findings)
    statuses = {finding.status for finding in findings}
    return outcome.WRONG_USE if outcome.WRONG_USE in statuses else max(statuses)


def _installation() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _LEAST_PYTHON:
        yield _wrong("Python", f"{python} is too old", "make an environment with Python 3.11 or newer")
    else:
        yield Finding("Python", OK, f"{python} at {sys.executable}")
    for package in PACKAGES:
        try:
            yield Finding(package, OK, version(package))
        except PackageNotFoundError:
            yield _wrong(package, "is not installed", "install the project: `pip install .`")
    try:
        import_module(_STUBS)
        yield Finding("stubs", OK, "fit the installed grpcio and protobuf")
    except ImportError as error:
        yield _wrong("stubs", f"can't be imported: {error}", "make them: `nox -s codegen`, or `pip install .`")
    except Exception as error:  # noqa: BLE001 - whatever grpcio and protobuf refuse stubs of a newer generator with
        text = " ".join(str(error).split())
        yield _wrong("stubs", text, "make them anew: `nox -s codegen`, or `pip install .`")


def _settings() -> Iterator[Finding]:
    from ordersys.local import environment  # noqa: PLC0415 - takes time, and needs what was examined before

    misspelt = environment.misspelt(os.environ)
    for name, known in misspelt.items():
        yield _wrong(name, "is no setting, and has no effect", f"write {known}, or unset it")
    sentences = list(environment.wrong(os.environ))
    for sentence in sentences:
        yield _wrong("settings", sentence, "set it right, or unset it; docs/operations.md has all settings")
    if not misspelt and not sentences:
        chosen = ", ".join(environment.chosen(os.environ))
        yield Finding("settings", OK, f"set: {chosen}" if chosen else "none set, all have their defaults")


def _data_dir() -> Iterator[Finding]:
    from ordersys.local import environment  # noqa: PLC0415 - as above
    from ordersys.local.state import DATA_DIR  # noqa: PLC0415 - as above

    folder = environment.data_dir(os.environ)
    if folder is None:
        return
    try:
        status = folder.stat()
    except FileNotFoundError:
        return  # a service makes it
    except OSError as error:
        yield _wrong(DATA_DIR, f"{folder} can't be examined: {error.strerror}", "name a folder of your own")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield _wrong(DATA_DIR, f"{folder} is no folder", "name a folder")
    elif status.st_uid != os.geteuid():
        yield _wrong(DATA_DIR, f"{folder} belongs to another user (uid {status.st_uid})", "name a folder of your own")
    elif status.st_mode & _OTHERS_MAY_WRITE:
        yield _wrong(DATA_DIR, f"others may write to {folder}", f"`chmod go-w {folder}`")
    else:
        yield Finding(DATA_DIR, OK, str(folder))


def _broker(data_dir: str | None) -> Iterator[Finding]:
    """That of the environment, or of the system in the folder that is named; else the default, which may be nobody's.

    Only the services talk to it.
    """
    from ordersys.grpc_client import discovery  # noqa: PLC0415 - as above
    from ordersys.local import environment  # noqa: PLC0415 - as above

    chosen = dict(os.environ)
    if not chosen.get(environment.AMQP_URL):
        chosen |= discovery.private_broker(data_dir)
    is_chosen = bool(chosen.get(environment.AMQP_URL))
    brokers = list(environment.brokers(chosen))
    for broker in brokers:
        if broker.answers:
            yield Finding("broker", OK, f"answers at {broker.shown}")
        elif any(other.answers for other in brokers):
            yield Finding(
                "broker", NOTE, f"does not answer at {broker.shown}", "start it; one node is enough meanwhile"
            )
        elif is_chosen:
            remedy = f"start it, or set {environment.AMQP_URL} right; of a cluster one node is enough"
            yield Finding("broker", WRONG, f"does not answer at {broker.shown}", remedy, outcome.NOT_REACHABLE)
        else:
            remedy = f"services that you start by hand need one: set {environment.AMQP_URL}"
            yield Finding("broker", NOTE, f"does not answer at {broker.shown}, the default", remedy)


def _services(arguments: argparse.Namespace) -> Iterator[Finding]:
    from ordersys.grpc_client import discovery  # noqa: PLC0415 - as above

    try:
        peers = discovery.located(vars(arguments), arguments.data_dir)
        known_as = discovery.known_as(arguments.data_dir)
    except UsageError as error:
        yield _wrong("addresses", str(error), "set it right; with no address at all, the defaults are used")
        return
    owners: dict[object, Peer] = {}
    for address, peer in ((address, owner) for owner in peers for address in owner.address.each):
        other = owners.setdefault(address, peer)
        if other is not peer:
            text = f"{other.name} and {peer.name} are both at {address}"
            yield _wrong("addresses", text, f"set {variable(other.module)} or {variable(peer.module)} right")
    yield from asyncio.run(_health(peers, known_as, arguments.timeout or _CONNECT_SECONDS))


async def _health(peers: Peers, known_as: "Credentials", seconds: float) -> Sequence[Finding]:
    from ordersys.grpc_client.connection import STRANGER  # noqa: PLC0415 - as above

    findings = []
    for peer, health in (await _asked(peers, known_as, seconds)).items():
        at = f"at {peer.address}"
        if health == "SERVING":
            findings.append(Finding(peer.name, OK, f"{at}, SERVING"))
        elif health == STRANGER:
            remedy = f"set {variable(peer.module)} to the address of the {peer.name}"
            findings.append(_wrong(peer.name, f"{at} {await _who(peer, known_as, seconds)} answers instead", remedy))
        elif health.isupper():
            remedy = "its log says why: mostly the broker is away, or its disk is full"
            findings.append(Finding(peer.name, WRONG, f"{at}, {health}", remedy, outcome.NOT_REACHABLE))
        else:
            findings.append(_silent(peer, known_as.authorities is not None))
    if all(finding.status == outcome.NOT_REACHABLE for finding in findings):
        findings.append(Finding("services", NOTE, "none works", "`python -m ordersys.local` starts all, with a broker"))
    return findings


async def _asked(peers: Peers, known_as: "Credentials", seconds: float) -> dict[Peer, str]:
    from ordersys.grpc_client.connection import Client  # noqa: PLC0415 - as above

    client = Client(peers, seconds, known_as=known_as)
    try:
        return await client.health()
    finally:
        await client.close()


async def _who(peer: Peer, known_as: "Credentials", seconds: float) -> str:
    """The service that answers at the address of another."""
    first, second, third, fourth = (Peer(p.name, p.module, peer.address) for p in PEERS)
    asked = await _asked((first, second, third, fourth), known_as, seconds)
    names = [p.name for p, health in asked.items() if health.isupper()]
    return f"the {' or '.join(names)}" if names else "another gRPC service"


def _silent(peer: Peer, encrypting: bool) -> Finding:
    """A service that does not answer: nobody listens there, or somebody with whom no conversation comes about."""
    if trouble := _listens(peer.address.each[0]):
        text = f"nothing listens at {peer.address} ({trouble})"
        remedy = f"start it with `python -m ordersys.{peer.module}`; where it is elsewhere, set {variable(peer.module)}"
        return Finding(peer.name, WRONG, text, remedy, outcome.NOT_REACHABLE)
    encrypts = _encrypts(peer.address.each[0])
    if encrypts and not encrypting:
        text = f"what listens at {peer.address} wants encryption"
        remedy = "name the folder of `ordersys.local` with --data-dir, or ORDERSYS_CA_FILE and ORDERSYS_TOKEN_FILE"
    elif encrypts:
        text = f"what listens at {peer.address} has no certificate of the {peer.name} that ORDERSYS_CA_FILE vouches for"
        remedy = f"set ORDERSYS_CA_FILE, or {variable(peer.module)}, right"
    else:
        text = f"something listens at {peer.address} that does not answer as a gRPC service"
        text += " that encrypts" if encrypting else ""
        remedy = f"see whose port it is (`ss -tlnp`), and set {variable(peer.module)} right"
    return Finding(peer.name, WRONG, text, remedy, outcome.NOT_REACHABLE)


def _encrypts(address: tuple[str, int]) -> bool:
    """True where somebody answers in TLS, with whatever certificate: nothing is sent but the greeting."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, _CONNECT_SECONDS) as connection, context.wrap_socket(connection):
            return True
    except OSError:
        return False


def _listens(address: tuple[str, int]) -> str | None:
    """None where somebody listens, else the reason."""
    try:
        socket.create_connection(address, _CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _wrong(subject: str, text: str, remedy: str) -> Finding:
    return Finding(subject, WRONG, text, remedy, outcome.WRONG_USE)


def _show(arguments: argparse.Namespace, findings: Sequence[Finding]) -> None:
    documents = [{key: value for key, value in asdict(finding).items() if key != "status"} for finding in findings]
    if arguments.output == JSON:
        output.document(documents)
        return
    for finding, document in zip(findings, documents, strict=True):
        if arguments.output == TABLE:
            output.line(f"{finding.state:<5}  {finding.subject}: {finding.text}")
            if finding.remedy:
                output.line(f"       -> {finding.remedy}")
        else:
            output.document(document)
