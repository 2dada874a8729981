"""The permissions of each service at a real broker: what it needs works, and everything else is refused."""

import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import grpc
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError

from ordersys.api.notification.v1.dead_letter_service_pb2 import ReplayDeadLettersRequest
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.contract.access import service_name
from ordersys.contract.permissions import DECLARER, contract_permissions
from ordersys.contract.topology import events, publication, subscriptions, topology
from ordersys.local import ports
from ordersys.local.rabbitmq import Node
from ordersys.local.system import SERVICES, Choices, System
from tests.broker_users import definition
from tests.integration.api import Api, eventually, new_id, placing, reason
from tests.integration.conftest import quietly, skip_without_rabbitmq

pytestmark = pytest.mark.timeout(240)
SECONDS = 60.0
ACCESS_REFUSED, PRECONDITION_FAILED = 403, 406
EXCHANGES = {exchange.name: exchange.type for exchange in topology().exchanges}
QUEUES = [queue.name for queue in topology().queues]
PUBLICATIONS = [publication(event) for event in events().values()]
OWN = {subscription.consumer: subscription for subscription in subscriptions()}
USERS = [granted.user for granted in contract_permissions()]
KEYS = sorted({published.routing_key for published in PUBLICATIONS} | {"#", "order.*", "another"})
OF_THE_BROKER = ["amq.topic", "amq.direct", "amq.fanout", "amq.headers"]


class Broker(NamedTuple):
    """A broker on which each user of the contract has its permissions, and nobody any others."""

    node: Node
    passwords: dict[str, str]

    def url(self, user: str) -> str:
        """For one of them."""
        return f"amqp://{user}:{self.passwords[user]}@{ports.LOOPBACK}:{self.node.port}/%2F"

    def outcome(self, user: str, call: Callable[[BlockingChannel], object]) -> int:
        """The code with which a call is refused, 0 where it is not."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.url(user)))) as connection:
            return outcome(connection, call)


def outcome(connection: pika.BlockingConnection, call: Callable[[BlockingChannel], object]) -> int:
    """The code with which a call is refused on a channel of its own, 0 where it is not."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        call(channel)
        channel.close()
    except ChannelClosedByBroker as closed:
        return int(closed.reply_code)
    return 0


def command(*words: str, url: str = "") -> "subprocess.CompletedProcess[str]":
    """The command `python -m ordersys.topology`."""
    environment = {**os.environ, "ORDERSYS_AMQP_URL": url}
    typed = [sys.executable, "-m", "ordersys.topology", *words]
    return subprocess.run(typed, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)


def users(passwords: dict[str, str]) -> str:
    """The users as RabbitMQ's definitions."""
    return json.dumps({"users": [definition(name, password) for name, password in passwords.items()]})


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The permissions are set by the very commands that are printed, and the topology is declared by the declarer."""
    skip_without_rabbitmq()
    folder = tmp_path_factory.mktemp("broker")
    with System(folder, quietly, Choices(services=())) as system:
        made = Broker(system.nodes[0], {user: secrets.token_hex(8) for user in USERS})
        (folder / "users.json").write_text(users(made.passwords))
        made.node.control("import_definitions", str(folder / "users.json"))
        printed = [shlex.split(line) for line in command("permissions").stdout.splitlines()]
        of_topics = [words for words in printed if "set_topic_permissions" in words]
        for words in (words for words in printed if words not in of_topics):
            made.node.control(*words[1:])
        assert command("check", url=made.url(DECLARER)).returncode == 1
        declared = command("declare", url=made.url(DECLARER))
        assert (declared.returncode, declared.stderr) == (0, "")
        for words in of_topics:
            made.node.control(*words[1:])
        made.node.control("delete_user", "guest")
        yield made


Calls = dict[tuple[str, ...], Callable[[BlockingChannel], object]]


def declarations() -> Calls:
    """Calls that need the right to configure. Of what is not there, too."""
    calls: Calls = {
        ("new exchange",): lambda channel: channel.exchange_declare("another.v1", "topic", durable=True),
        ("new queue",): lambda channel: channel.queue_declare("another.v1", durable=True),
        ("queue named by the broker",): lambda channel: channel.queue_declare("", exclusive=True),
    }
    for exchange in topology().exchanges:
        calls["declare", exchange.name] = partial(_declare_exchange, exchange.name)
        calls["delete", exchange.name] = partial(_delete_exchange, exchange.name)
    for queue in QUEUES:
        calls["declare", queue] = partial(_declare_queue, queue)
        calls["delete", queue] = partial(_delete_queue, queue)
    return calls


def _declare_exchange(name: str, channel: BlockingChannel) -> None:
    channel.exchange_declare(name, EXCHANGES[name], durable=True)


def _delete_exchange(name: str, channel: BlockingChannel) -> None:
    channel.exchange_delete(name)


def _declare_queue(name: str, channel: BlockingChannel) -> None:
    (queue,) = (queue for queue in topology().queues if queue.name == name)
    channel.queue_declare(name, durable=True, arguments=dict(queue.arguments))


def _delete_queue(name: str, channel: BlockingChannel) -> None:
    channel.queue_delete(name)


def uses() -> Calls:
    """Calls that use what is declared, or bind it."""
    calls: Calls = {}
    for queue in QUEUES:
        calls["get", queue] = partial(_get, queue)
        calls["consume", queue] = partial(_consume, queue)
        calls["purge", queue] = partial(_purge, queue)
        calls["publish", "", queue] = partial(_publish, "", queue)
        for exchange, key in product(EXCHANGES, KEYS):
            calls["bind", queue, exchange, key] = partial(_bind, queue, exchange, key)
    for exchange, key in product([*EXCHANGES, *OF_THE_BROKER], KEYS):
        calls["publish", exchange, key] = partial(_publish, exchange, key)
    for source, destination in product(EXCHANGES, EXCHANGES):
        if source != destination:
            calls["feed", destination, source] = partial(_feed, destination, source)
    return calls


def _get(queue: str, channel: BlockingChannel) -> None:
    channel.basic_get(queue, auto_ack=True)


def _consume(queue: str, channel: BlockingChannel) -> None:
    channel.basic_cancel(channel.basic_consume(queue, lambda *_: None))


def _purge(queue: str, channel: BlockingChannel) -> None:
    channel.queue_purge(queue)


def _publish(exchange: str, routing_key: str, channel: BlockingChannel) -> None:
    channel.basic_publish(exchange, routing_key, b"")


def _bind(queue: str, exchange: str, routing_key: str, channel: BlockingChannel) -> None:
    channel.queue_bind(queue, exchange, routing_key)


def _feed(destination: str, source: str, channel: BlockingChannel) -> None:
    channel.exchange_bind(destination, source, "#")


def may(user: str, method: str, *names: str) -> bool:
    """True when the contract has this service do it."""
    own = OWN.get(user)
    if method == "publish":
        return may_publish(user, *names)
    if method == "feed":
        return may_feed(user, *names)
    if own is None:
        return False
    if method == "bind":
        queue, exchange, key = names
        stated = {(b.destination, b.source, b.routing_key) for b in topology().bindings}
        is_stated = (queue, exchange, key) in stated or EXCHANGES[exchange] == "fanout"
        return queue == own.queue and exchange in (own.exchange, own.replay_exchange) and is_stated
    return names[0] in (own.queue, own.dead_letter_queue)


def may_publish(user: str, exchange: str, routing_key: str) -> bool:
    """True for its own events and replays. A fanout exchange ignores the routing key."""
    published = {(p.exchange, p.routing_key) for p in PUBLICATIONS if service_name(p.publisher) == user}
    if EXCHANGES.get(exchange) != "fanout":
        return (exchange, routing_key) in published
    replays = {own.replay_exchange for consumer, own in OWN.items() if consumer == user}
    return exchange in {to for to, _ in published} | replays


def may_feed(user: str, destination: str, source: str) -> bool:
    """True for the feed of what it publishes. A subscriber may have what it takes once more, for itself alone."""
    if own := OWN.get(user):
        return (destination, source) == (own.replay_exchange, own.exchange) and EXCHANGES[source] == "fanout"
    fed = {(b.destination, b.source) for b in topology().bindings if b.to_exchange}
    return (destination, source) in fed and any(may_publish(user, source, key) for key in KEYS)


@pytest.mark.parametrize("user", sorted(set(USERS) - {DECLARER}))
def test_a_service_may_do_what_it_needs_and_is_refused_all_else(user: str, broker: Broker) -> None:
    """Of whatever could be tried with the exchanges and queues of the contract, and with those of the broker."""
    expected = {tried: 0 if may(user, *tried) else ACCESS_REFUSED for tried in uses()}
    expected |= dict.fromkeys(declarations(), ACCESS_REFUSED)
    with closing(pika.BlockingConnection(pika.URLParameters(broker.url(user)))) as connection:
        calls = uses() | declarations()
        answered = {tried: outcome(connection, call) for tried, call in calls.items()}
    assert {tried: code for tried, code in answered.items() if code != expected[tried]} == {}
    assert 0 in answered.values()


def test_the_declarer_declares_again_and_publishes_no_event_to_a_topic_exchange(broker: Broker) -> None:
    """And declares nothing that the contract does not state."""
    for word in ("declare", "check"):
        assert command(word, url=broker.url(DECLARER)).returncode == 0
    refused = [call for tried, call in declarations().items() if tried[0] not in ("declare", "delete")]
    topics = [exchange for exchange, kind in EXCHANGES.items() if kind == "topic"]
    refused += [partial(_publish, exchange, key) for exchange, key in product(topics, KEYS)]
    refused += [partial(_publish, exchange, "any") for exchange in OF_THE_BROKER]
    assert {broker.outcome(DECLARER, call) for call in refused} == {ACCESS_REFUSED}


@pytest.mark.parametrize(("user", "code"), [("product-service", 0), ("order-service", PRECONDITION_FAILED), ("", 0)])
def test_nobody_publishes_in_the_name_of_another(broker: Broker, user: str, code: int) -> None:
    """A publisher names itself in `user_id`, or nobody, which a subscriber that checks publishers refuses."""
    properties = pika.BasicProperties(user_id=user or None)

    def publish(channel: BlockingChannel) -> None:
        channel.basic_publish("orders.events", "order.rejected", b"", properties)

    assert broker.outcome("product-service", publish) == code


def test_nobody_else_is_let_in(broker: Broker) -> None:
    """The user that each RabbitMQ has is gone, and the password of one user is no other's."""
    first, second = USERS[:2]
    for user, password in (("guest", "guest"), (first, broker.passwords[second]), (first, "")):
        parameters = pika.ConnectionParameters(
            ports.LOOPBACK, broker.node.port, "/", pika.PlainCredentials(user, password)
        )
        with pytest.raises(ProbableAuthenticationError):
            pika.BlockingConnection(parameters)


def test_another_virtual_host_is_out_of_reach(broker: Broker) -> None:
    """There or not, which looks the same."""
    broker.node.control("add_vhost", "of-others")
    for user, host in product(USERS, ("of-others", "that-is-not-there")):
        parameters = pika.URLParameters(broker.url(user))
        parameters.virtual_host = host
        with pytest.raises(ProbableAccessDeniedError):
            pika.BlockingConnection(parameters)


def test_a_user_without_the_right_to_declare_is_told_so(broker: Broker) -> None:
    """In one line with the way out."""
    declared = command("declare", url=broker.url("order-service"))
    assert (declared.returncode, declared.stdout, declared.stderr.count("\n")) == (1, "", 1)
    assert f"use the user '{DECLARER}'" in declared.stderr
    assert "configure permission on exchange 'orders.created'" in declared.stderr


def test_the_definitions_give_the_same_permissions_in_another_virtual_host(broker: Broker, tmp_path: Path) -> None:
    """Imported, they are what the commands set."""
    broker.node.control("add_vhost", "another")
    (tmp_path / "permissions.json").write_text(command("permissions", "--vhost", "another", "--json").stdout)
    broker.node.control("import_definitions", str(tmp_path / "permissions.json"))
    for listing in ("list_permissions", "list_topic_permissions"):
        here, there = (broker.node.control(listing, "-q", "-p", vhost) for vhost in ("/", "another"))
        assert sorted(here.splitlines()) == sorted(there.splitlines())
        assert "topology" in here


class Services(NamedTuple):
    """The real services, each with its own user."""

    system: System
    api: Api


@pytest.fixture
def services(broker: Broker, tmp_path: Path) -> Iterator[Services]:
    """Each reads its URL from a file, and finds everything declared."""
    for queue in QUEUES:  # what was published above is no event
        assert broker.outcome(OWN_OF[queue], partial(_purge, queue)) == 0
    programs = {}
    for module in SERVICES:
        file = tmp_path / f"{module}.url"
        file.touch(0o600)
        file.write_text(broker.url(module.replace("_", "-")))
        variables = ["-u", "ORDERSYS_AMQP_URL", f"ORDERSYS_AMQP_URL_FILE={file}"]
        programs[module] = ["env", *variables, sys.executable, "-m", f"ordersys.{module}"]
    choices = Choices(amqp_url=broker.url(DECLARER), programs=programs)
    with System(tmp_path / "system", quietly, choices) as system, Api(system.environment) as api:
        yield Services(system, api)


OWN_OF = {queue: s.consumer for s in subscriptions() for queue in (s.queue, s.dead_letter_queue)}


def test_the_services_work_with_these_users(services: Services, broker: Broker) -> None:
    """Each event arrives, dead letters are replayed, and no log has more than the word that nothing is declared."""
    api = services.api
    desk = api.new_product(available=5)
    order = api.place({desk: 2})
    api.advance(order, OrderState.ORDER_STATE_PAID)
    with pytest.raises(grpc.RpcError) as refused:
        api.products.PlaceOrder(placing({desk: 9}), timeout=SECONDS)
    assert reason(refused.value) == "OUT_OF_STOCK"
    eventually(lambda: len(api.heard(1, "")) == 1 and len(api.heard(2, "")) == len(PUBLICATIONS), SECONDS)
    for number, own in enumerate(subscriptions(), 1):
        assert broker.outcome(DECLARER, partial(_publish, "", own.queue)) == 0
        (letter,) = eventually(partial(api.dead_letters, number), SECONDS)
        request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=[letter.id])
        assert list(api.letters[number].ReplayDeadLetters(request, timeout=SECONDS).dead_letter_ids) == [letter.id]
        eventually(partial(api.dead_letters, number), SECONDS)  # it is a dead letter again
    for service in services.system.services.values():
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
        urgent = [line["message"] for line in lines if line["level"] not in ("debug", "info")]
        expected = ("dead letter: None", "ORDERSYS_INSECURE: ")
        assert [message for message in urgent if not message.startswith(expected)] == []


def test_without_its_replay_exchange_nothing_is_replayed_and_nothing_is_lost(
    services: Services, broker: Broker
) -> None:
    """As with a topology of an earlier release: once it is declared, the same request does what was asked."""
    (own, *_), api = subscriptions(), services.api
    for body in (b"first", b"second"):
        assert broker.outcome(DECLARER, lambda channel, body=body: channel.basic_publish("", own.queue, body)) == 0  # type: ignore[misc]
    letters = eventually(lambda: listed if len(listed := api.dead_letters(1)) == 2 else None, SECONDS)
    assert broker.outcome(DECLARER, partial(_delete_exchange, own.replay_exchange)) == 0
    ids = {letter.id for letter in letters}
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=ids)
    with pytest.raises(grpc.RpcError) as unavailable:
        api.letters[1].ReplayDeadLetters(request, timeout=SECONDS)
    assert reason(unavailable.value) == "BROKER_UNAVAILABLE"
    assert len(api.dead_letters(1)) == 2
    assert command("declare", url=broker.url(DECLARER)).returncode == 0
    assert set(api.letters[1].ReplayDeadLetters(request, timeout=SECONDS).dead_letter_ids) == ids
