"""The private RabbitMQ of a system with identities: encrypted, each service its own user, and nobody has a password.

The rights of each user, call by call: test_permissions.py.
"""

import asyncio
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

import grpc
import pika
import psutil
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.credentials import ExternalCredentials
from pika.exceptions import ChannelClosedByBroker

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogStub
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.contract.topology import subscriptions
from ordersys.identity import issuing
from ordersys.identity.authority import Authority
from ordersys.identity.issuing import Pair
from ordersys.local import ports, rabbitmq, rabbitmq_installed
from ordersys.local.rabbitmq import answers
from ordersys.local.rabbitmq_security import BrokerSecurity
from ordersys.local.system import Choices, System
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.reconnecting import declare, missing
from ordersys.runtime.rabbitmq.refusals import ACCESS_REFUSED
from ordersys.runtime.rabbitmq.tls import Files
from ordersys.runtime.rabbitmq.urls import BrokerUrl, identified, parse
from tests.integration.api import eventually
from tests.integration.conftest import quietly, skip_without_rabbitmq
from tests.integration.test_secured import Secured

pytestmark = pytest.mark.timeout(400)
SECONDS = 60.0
# Erlang looks for changed certificates every two minutes by itself; nothing else changes with this (Erlang's ssl
# application, "ssl_pem_cache_clean", in milliseconds).
LOOKS_OFTEN = " -ssl ssl_pem_cache_clean 2000"
SERVICES = ("notification-service-1", "notification-service-2", "order-service", "product-service")
GUEST = "guest:guest@"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The whole system, in a folder whose name has signs that would mean something in RabbitMQ's configuration."""
    skip_without_rabbitmq()
    folder = tmp_path_factory.mktemp("größe #1 =%41")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rabbitmq_installed, "_ERLANG", rabbitmq_installed._ERLANG + LOOKS_OFTEN)
        with System(folder, quietly, Choices(secure=True)) as system:
            yield of(system)


def of(system: System) -> Secured:
    """With the authority of its folder."""
    assert system.identities is not None
    return Secured(system, Authority(system.identities.layout.folder))


def foreign() -> Pair:
    """An authority that nobody here trusts."""
    key = issuing.new_key()
    return Pair(issuing.authority(key, NOW), key)


def written(folder: Path, pair: Pair) -> Files:
    """Files with a certificate and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(issuing.certificate_pem(pair.certificate))
    key.touch(0o600)
    key.write_bytes(issuing.key_pem(pair.key))
    return Files(None, certificate, key)


def own_pair(secured: Secured) -> Pair:
    """The authority of the system, to make what it never would."""
    layout = secured.authority.layout
    certificate = issuing.parsed_certificate(layout.ca.read_bytes())
    return Pair(certificate, issuing.parsed_key(layout.ca_key.read_bytes()))


def files(secured: Secured, name: str) -> Files:
    """Those of one of the system."""
    layout = secured.authority.layout
    return Files(layout.ca, layout.certificate(name), layout.key(name))


def url(secured: Secured, shown: Files, text: str = "") -> BrokerUrl:
    """The URL of the broker for whoever has these files and trusts its authority."""
    trusted = shown._replace(authorities=secured.authority.layout.ca)
    (known,) = identified(parse(text or secured.system.amqp_url), trusted)
    return known


def refusal(broker: BrokerUrl) -> str:
    """The words with which a connection is refused."""
    with pytest.raises(BrokerUnavailable) as refused:
        asyncio.run(_opened(broker))
    return str(refused.value)


async def _opened(broker: BrokerUrl) -> None:
    session = await Session.open(broker, "test")
    await session.close()


def connected(secured: Secured, name: str) -> pika.BlockingConnection:
    """A connection as one of the system, in pika's own way."""
    parameters = url(secured, files(secured, name)).fresh()
    parameters.credentials = ExternalCredentials()
    return pika.BlockingConnection(parameters)


def heard(secured: Secured, number: int, order_id: str) -> list[Notification]:
    """The notifications a service has recorded of an order."""
    service = f"notification-service-{number}"
    operator = secured.bearer("olga", Role.ROLE_OPERATOR)
    request = ListNotificationsRequest(order_id=order_id, page_size=100)
    with secured.channel(secured.address(f"NOTIFICATION_SERVICE_{number}"), service) as channel:
        answer = NotificationLogStub(channel).ListNotifications(request, metadata=operator, timeout=SECONDS)
        return list(answer.notifications)


def placed(secured: Secured) -> str:
    """Places an order; its id."""
    secured.place("anna")
    anna = secured.bearer("anna", Role.ROLE_CUSTOMER)
    with secured.channel(secured.address("ORDER_SERVICE"), "order-service") as channel:
        answer = OrderServiceStub(channel).ListOrders(ListOrdersRequest(page_size=1), metadata=anna, timeout=SECONDS)
        return str(answer.orders[0].id)


def users(secured: Secured) -> set[tuple[str, ...]]:
    """The user, mechanism and encryption of each connection."""
    listed = secured.system.nodes[0].control("-q", "list_connections", "user", "auth_mechanism", "ssl")
    return {tuple(line.split("\t")) for line in listed.splitlines()[1:]}


def test_each_service_works_as_itself(secured: Secured) -> None:
    """By its certificate, and all of it encrypted; an order is recorded by both subscribers."""
    order = placed(secured)
    for number in (1, 2):
        eventually(partial(heard, secured, number, order), SECONDS)
    known = {(name, "EXTERNAL", "true") for name in (*SERVICES, "topology")}
    eventually(lambda: users(secured) == known, SECONDS)  # one that has just lost its connection has none


def test_nobody_else_is_a_user(secured: Secured) -> None:
    """Neither the guest of each RabbitMQ nor anybody with rights over it, and nobody may use a password."""
    listed = secured.system.nodes[0].control("-q", "list_users").splitlines()[1:]
    assert sorted(listed) == sorted(f"{name}\t[]" for name in (*SERVICES, "topology", "observer"))


REFUSED: Mapping[str, tuple[str, str]] = {
    "a password": (GUEST, "it was shown no certificate for clients, and wants one"),
    # Erlang calls it a handshake that failed; since version 27 a certificate that is not supported.
    "the broker's own certificate": ("rabbitmq", "it was shown"),
    "nobody's name": ("somebody", "it has no user of the name in the certificate that it was shown"),
    "another authority": ("foreign", "it does not trust the authority of the certificate that it was shown"),
    "an expired certificate": ("expired", "the certificate that it was shown has expired"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_is_not_known_is_refused_and_told_why(case: str, secured: Secured, tmp_path: Path) -> None:
    """With the way out, in one line."""
    who, said = REFUSED[case]
    if who == GUEST:
        refused = url(secured, Files(), secured.system.amqp_url.replace("://", f"://{GUEST}"))
    elif who == "rabbitmq":
        refused = url(secured, files(secured, who))
    else:
        issuer, at = (foreign(), NOW) if who == "foreign" else (own_pair(secured), NOW)
        name = "order-service" if who in ("foreign", "expired") else who
        at = NOW - timedelta(days=2) if who == "expired" else at
        refused = url(secured, written(tmp_path, issuing.leaf(issuer, name, at, 1)))
    words = refusal(refused)
    assert said in words
    assert "\n" not in words


def test_a_password_is_none_even_with_a_certificate(secured: Secured) -> None:
    """Else whoever has any could try the passwords of others."""
    own = files(secured, "order-service")
    options = f"{{'certfile':'{quote(str(own.certificate))}'%2C'keyfile':'{quote(str(own.key))}'}}"
    text = f"{secured.system.amqp_url.replace('://', f'://{GUEST}')}&ssl_options={options}"
    assert "it takes no passwords" in refusal(url(secured, Files(), text))


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN", "ANONYMOUS"])
def test_only_certificates_say_who_somebody_is(secured: Secured, mechanism: str) -> None:
    """Of the mechanisms that RabbitMQ offers there is but EXTERNAL."""
    start = greeting(secured)
    assert b"EXTERNAL" in start
    assert mechanism.encode() not in start


def greeting(secured: Secured) -> bytes:
    """The first frame of the broker, with the mechanisms it takes, to whoever has a certificate."""
    options = url(secured, files(secured, "order-service")).fresh().ssl_options
    assert options is not None and options.context is not None
    with (
        socket.create_connection((ports.LOOPBACK, secured.system.nodes[0].port), SECONDS) as plain,
        options.context.wrap_socket(plain, server_hostname="rabbitmq") as encrypted,
    ):
        encrypted.sendall(b"AMQP\0\0\x09\x01")
        return encrypted.recv(4096)


def test_in_clear_nobody_is_answered(secured: Secured) -> None:
    """The port speaks TLS alone, and there is no other."""
    port = secured.system.nodes[0].port
    assert not answers(port)
    (plain,) = parse(f"amqp://{GUEST}{ports.LOOPBACK}:{port}")
    assert "use amqps:// where it wants TLS" in refusal(plain)


@pytest.mark.parametrize(
    ("authority", "name", "said"),
    [("foreign", "rabbitmq", "self-signed certificate"), ("own", "order-service", "not valid for 'order-service'")],
)
def test_a_broker_that_is_none_of_the_system_is_not_believed(
    authority: str, name: str, said: str, secured: Secured, tmp_path: Path
) -> None:
    """Neither of another authority nor of another name: a service's certificate is no broker's."""
    other = tmp_path / "ca.pem"
    other.write_bytes(issuing.certificate_pem(foreign().certificate))
    own = files(secured, "order-service")
    text = secured.system.amqp_url.replace("server_name_indication=rabbitmq", f"server_name_indication={name}")
    known = own._replace(authorities=other) if authority == "foreign" else own
    (impostor,) = identified(parse(text), known)
    words = refusal(impostor)
    assert said in words
    assert "ORDERSYS_AMQP_CA_FILE" in words


def test_a_service_publishes_nothing_but_its_own_events(secured: Secured) -> None:
    """The Order Service rejects no order, though it may publish to that exchange."""
    with closing(connected(secured, "order-service")) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        with pytest.raises(ChannelClosedByBroker) as closed:
            channel.basic_publish("orders.events", "order.rejected", b"")
    assert closed.value.reply_code == 403


def test_the_declarer_is_no_service(secured: Secured) -> None:
    """A gRPC port knows nobody by its certificate: neither at the address for services nor at that for clients."""
    layout = secured.authority.layout
    credentials = grpc.ssl_channel_credentials(
        layout.ca.read_bytes(), layout.key("topology").read_bytes(), layout.certificate("topology").read_bytes()
    )
    options = (("grpc.ssl_target_name_override", "order-service"),)
    for address in ("ORDER_SERVICE_INTERNAL", "ORDER_SERVICE"):
        with (
            grpc.secure_channel(secured.address(address), credentials, options=options) as channel,
            pytest.raises(grpc.RpcError) as refused,
        ):
            OrderServiceStub(channel).ListOrders(ListOrdersRequest(), timeout=SECONDS)
        assert refused.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


def test_no_secret_is_shown_and_no_file_is_for_others(secured: Secured) -> None:
    """No key in command lines, environments, logs and definitions, and no hash of a password in these."""
    secrets = [path.read_text().splitlines()[1] for path in secured.authority.layout.folder.rglob("key.pem")]
    assert len(secrets) > 5
    node = secured.system.folder / "rabbitmq"
    shown = "".join(path.read_text(errors="replace") for path in node.rglob("*") if path.suffix in (".json", ".log"))
    for process in psutil.Process(os.getpid()).children(recursive=True):
        for kind in ("cmdline", "environ"):
            shown += Path("/proc", str(process.pid), kind).read_text(errors="replace")
    assert str(node) in shown
    assert [secret for secret in secrets if secret in shown] == []
    definitions = json.loads((node / "definitions.json").read_text())
    assert {user["password_hash"] for user in definitions["users"]} == {""}
    private = [node / "definitions.json", *(node / "tls").iterdir()]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert len(private) == 4


def test_what_is_printed_is_enough_to_be_the_declarer(secured: Secured) -> None:
    """In a shell that has nothing else of the system; a service may not declare."""
    exported = dict(shlex.split(line)[1].split("=", 1) for line in secured.system.exports)
    checked = topology("check", ORDERSYS_AMQP_URL=exported["ORDERSYS_AMQP_URL"])
    assert (checked.returncode, checked.stderr) == (0, "")
    layout = secured.authority.layout
    own = {
        "ORDERSYS_AMQP_URL": secured.system.amqp_url,
        "ORDERSYS_AMQP_CA_FILE": str(layout.ca),
        "ORDERSYS_TLS_CERTIFICATE_FILE": str(layout.certificate("order-service")),
        "ORDERSYS_TLS_KEY_FILE": str(layout.key("order-service")),
    }
    declared = topology("declare", **own)
    assert declared.returncode == 1
    assert "use the user 'topology'" in declared.stderr
    without = topology("declare", ORDERSYS_AMQP_URL=secured.system.amqp_url)
    assert without.returncode == 2
    assert "ORDERSYS_TLS_CERTIFICATE_FILE" in without.stderr


def topology(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The command `python -m ordersys.topology`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")}
    command = [sys.executable, "-m", "ordersys.topology", *words]
    return subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, timeout=SECONDS * 2, check=False
    )


def test_a_queue_that_was_deleted_is_declared_again(tmp_path: Path) -> None:
    """By the launcher: no service may; what is placed from then on is recorded.

    In a system of its own: a broker that another test kills then may lose the queue (docs/reliability.md).
    """
    skip_without_rabbitmq()
    (queue, *_) = (subscription.queue for subscription in subscriptions())
    with System(tmp_path, quietly, Choices(secure=True)) as system:
        secured = of(system)
        with closing(connected(secured, "topology")) as connection:
            channel = connection.channel()
            wait_for_subscriber(channel, queue)
            channel.queue_delete(queue)
        eventually(lambda: queue in messages(system), SECONDS)
        order = placed(secured)
        eventually(partial(heard, secured, 1, order), SECONDS)


REFUSED_TO_OBSERVER = {
    "publish to an exchange": lambda channel, queue: channel.basic_publish("orders.created", "", b""),
    "publish to a queue": lambda channel, queue: channel.basic_publish("", queue, b""),
    "consume": lambda channel, queue: channel.basic_consume(queue, lambda *_: None),
    "get": lambda channel, queue: channel.basic_get(queue),
    "purge": lambda channel, queue: channel.queue_purge(queue),
    "delete": lambda channel, queue: channel.queue_delete(queue),
    "declare": lambda channel, queue: channel.queue_declare("tap"),
    "bind": lambda channel, queue: channel.queue_bind(queue, "orders.created"),
    "unbind": lambda channel, queue: channel.queue_unbind(queue, "orders.created"),
}


@pytest.mark.parametrize("attempt", REFUSED_TO_OBSERVER)
def test_the_observer_looks_at_queues_and_may_do_nothing_else(secured: Secured, attempt: str) -> None:
    """So the live page can't disturb anybody, whatever is wrong with it."""
    queue = subscriptions()[0].queue
    with closing(connected(secured, "observer")) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        wait_for_subscriber(channel, queue)
        with pytest.raises(ChannelClosedByBroker) as refused:
            REFUSED_TO_OBSERVER[attempt](channel, queue)
        assert refused.value.reply_code == ACCESS_REFUSED


def test_a_renewed_certificate_of_the_broker_is_served_without_a_restart(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To new connections, once it is time to renew; those there are go on. Until then no file is looked at."""
    before = shown_certificate(secured)
    secured.authority.certificate("rabbitmq")
    (mounted,) = secured.system.folder.glob("rabbitmq*/tls/certificate.pem")
    with monkeypatch.context() as unchanged:
        unchanged.setattr(BrokerSecurity, "renew", not_to_be_called)
        secured.system.watch(lambda line: None)
    monkeypatch.setattr("ordersys.local.identities._RENEW_SECONDS", 0.0)
    secured.system.watch(lambda line: None)
    assert mounted.read_bytes() == secured.authority.layout.certificate("rabbitmq").read_bytes()
    eventually(lambda: shown_certificate(secured) != before, 2 * SECONDS)
    assert secured.system.nodes[0].running
    secured.place("anna")


def not_to_be_called(*_: object) -> None:
    """In the place of a method."""
    raise AssertionError("called before it is time")


def shown_certificate(secured: Secured) -> bytes:
    """The certificate that the broker shows now."""
    options = url(secured, files(secured, "topology")).fresh().ssl_options
    assert options is not None and options.context is not None
    with (
        socket.create_connection((ports.LOOPBACK, secured.system.nodes[0].port), SECONDS) as plain,
        options.context.wrap_socket(plain, server_hostname="rabbitmq") as encrypted,
    ):
        return encrypted.getpeercert(binary_form=True) or b""


def test_a_killed_broker_comes_back_with_all_its_events(secured: Secured) -> None:
    """Orders are taken meanwhile, and recorded when it is there again."""
    secured.system.nodes[0].kill()
    order = placed(secured)

    for number in (1, 2):
        watched(secured, lambda line: None, partial(heard, secured, number, order))


def watched(secured: Secured, say: Callable[[str], None], look: Callable[[], object]) -> None:
    """Has the launcher look after its processes until `look` is true."""

    def looked() -> object:
        secured.system.watch(say)
        return look()

    eventually(looked, 2 * SECONDS)


def test_a_broker_whose_port_is_taken_while_it_is_down_comes_back_when_it_is_free(secured: Secured) -> None:
    """It is not started before, and says so once; it keeps its port, where its clients look for it."""
    said: list[str] = []
    (node,) = secured.system.nodes
    node.kill()
    with closing(stranger_at(node.port)):
        watched(secured, said.append, lambda: any("can't be started" in line for line in said))
        assert not node.running
    watched(secured, said.append, node._answers)
    assert [line for line in said if "can't be started" in line] == [
        f"{node.name} can't be started and is tried again now and then: port {node.port} can't be used: is in use"
    ]


def test_a_broker_that_runs_without_its_port_is_started_again(secured: Secured) -> None:
    """RabbitMQ goes on without its listener for TLS where somebody else has taken the port as it boots."""
    said: list[str] = []
    (node,) = secured.system.nodes
    node.kill()
    node.launch()
    with closing(stranger_at(node.port)):
        watched(secured, said.append, lambda: said)
    assert said[0] == f"rabbitmq runs and can't be reached; ending it (log: {node.log})"
    watched(secured, said.append, node._answers)


def stranger_at(port: int) -> socket.socket:
    """A port that somebody else listens on, as soon as whoever was killed has left it."""

    def listening() -> socket.socket | None:
        try:
            return socket.create_server((ports.LOOPBACK, port))
        except OSError:
            return None

    return eventually(listening)


@pytest.mark.parametrize("gone", [False, True], ids=["it stays", "it is gone by then"])
def test_a_port_that_is_taken_as_a_broker_boots_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """At once, and not when the time of a boot is over."""
    skip_without_rabbitmq()
    strangers: list[socket.socket] = []

    @contextmanager
    def stage(name: str) -> Iterator[Callable[[str], None]]:
        if name == "boot":
            strangers.append(socket.create_server((ports.LOOPBACK, system.nodes[0].port)))
        yield lambda word: None

    if gone:
        monkeypatch.setattr(ports, "trouble", lambda port: None)
    monkeypatch.setattr(rabbitmq, "_BOOT_SECONDS", 10 * SECONDS)
    system = System(tmp_path, stage, Choices(services=(), secure=True))
    try:
        with system:
            (stranger,) = strangers
            assert system.nodes[0].port != stranger.getsockname()[1]
            assert system.nodes[0]._answers()
    finally:
        for stranger in strangers:
            stranger.close()


def wait_for_subscriber(channel: BlockingChannel, queue: str) -> None:
    """Returns when the queue has its subscriber, who is away between two subscriptions or connections."""
    eventually(lambda: channel.queue_declare(queue, passive=True).method.consumer_count == 1, SECONDS)


def messages(system: System) -> dict[str, int]:
    """The number of messages in each queue."""
    listed = system.nodes[0].control("-q", "list_queues", "name", "messages").splitlines()[1:]
    return {name: int(count) for name, count in (line.split("\t") for line in listed)}


def test_a_folder_is_opened_with_identities_and_without_again(tmp_path: Path) -> None:
    """The guest loses its rights and gets them back; what is in the queues stays there."""
    skip_without_rabbitmq()
    open_choices, queue = Choices(services=()), subscriptions()[0].queue
    with System(tmp_path, quietly, open_choices) as system:
        asyncio.run(declare(system.broker_urls))
        with closing(pika.BlockingConnection(pika.URLParameters(system.amqp_url))) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish("", queue, b"kept")
    with System(tmp_path, quietly, replace(open_choices, secure=True)) as system:
        permissions = system.nodes[0].control("-q", "list_permissions").splitlines()
        assert "guest\t^$\t^$\t^$" in permissions
        eventually(lambda: not asyncio.run(missing(system.broker_urls)), SECONDS)  # a queue elects its leader
        secured = of(system)
        with closing(connected(secured, subscriptions()[0].consumer)) as connection:
            assert connection.channel().basic_get(queue)[2] == b"kept"  # and is given back
    with System(tmp_path, quietly, open_choices) as system:
        asyncio.run(declare(system.broker_urls))
        with closing(pika.BlockingConnection(pika.URLParameters(system.amqp_url))) as connection:
            assert connection.channel().basic_get(queue, auto_ack=True)[2] == b"kept"


def test_each_node_of_a_cluster_knows_the_same_users(tmp_path: Path) -> None:
    """By one certificate for all of them; a node that was killed comes back so."""
    skip_without_rabbitmq()
    with System(tmp_path, quietly, Choices(services=(), secure=True, brokers=3)) as system:
        assert asyncio.run(declare(system.broker_urls)) == []
        secured = of(system)
        system.nodes[1].kill()
        system.nodes[1].start()
        known = identified(parse(system.amqp_url), files(secured, "order-service"))
        assert len(known) == 3
        for broker in known:
            asyncio.run(_opened(broker))
