"""The side of RabbitMQ on the page: events, topology, subscriptions, permissions of users."""

import json
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from ordersys.api.amqp.v1.topology_pb2 import DeadLetterQueue
from ordersys.contract import access, permissions, topology
from ordersys.contract.events import headers
from tools.documents.asyncapi import NEEDED
from tools.documents.elements import anchor, short
from tools.page.drawing import Drawing
from tools.page.examples import on_the_wire
from tools.page.layout import entry, fact_list, folded, lines, plain_row, row, table_of, titled
from tools.page.markup import Html, code, element, joined, link, separated
from tools.page.messages import message_inside, type_link
from tools.page.references import References


def event_part(event: Descriptor, references: References) -> Html:
    """An event: where it goes, its fields, and an example with all that is on the wire."""
    to, place = topology.publication(event), anchor(short(event))
    takers = [(s, s.handlers[event.full_name]) for s in topology.subscriptions() if event.full_name in s.handlers]
    taken_by = [joined(link(f"subscriber.{s.consumer}", s.consumer), f" ({handler})") for s, handler in takers]
    facts = {
        "exchange": link(f"exchange.{to.exchange}", code(to.exchange)),
        "routing key": code(to.routing_key),
        "published by": link(f"user.{access.service_name(to.publisher)}", to.publisher),
        "handled by": separated(", ", taken_by),
    }
    heading = titled("h3", short(event), place)
    inside = list(message_inside(event, references))
    return entry("section", "event", short(event), place, heading, fact_list(facts), *inside, *_wire(event))


def _wire(event: Descriptor) -> Iterator[Html]:
    """The AMQP properties and headers of the example, and its body."""
    wire = on_the_wire(event)
    rows = [
        plain_row(code(name), code(str(value)), "yes" if name in NEEDED else "")
        for name, value in wire.properties.items()
    ]
    rows += [plain_row(code(f"headers.{name}"), code(value), "") for name, value in headers(wire.event).items()]
    yield element("p", "Its AMQP properties in this example. A publisher sends all of them.")
    yield table_of(("property", "example", "a subscriber needs it"), rows)
    body = wire.event.body
    yield folded(f"Body in protobuf, {len(body)} bytes, in hexadecimal", body.hex(" ", 1))


def topology_drawing() -> Html:
    """Exchanges and queues, drawn."""
    publications = {event.name: topology.publication(event) for event in topology.events().values()}
    drawing = Drawing(topology.topology(), publications, topology.subscriptions())
    legend = "A full line: the way of an event, with its routing key. Red: dead letters. Dotted: replays."
    picture = element("div", drawing.svg(), class_="scroll", tabindex="0", role="region", aria_label="Topology, drawn")
    return element("figure", picture, element("figcaption", legend))


def exchanges_table() -> Html:
    """The exchanges, with the events published to them and what they pass on to whom."""
    declared, published = topology.topology(), [(e, topology.publication(e)) for e in topology.events().values()]
    rows = []
    for exchange in declared.exchanges:
        events = [type_link(event) for event, to in published if to.exchange == exchange.name]
        bound = [
            joined(_end(b.destination, b.to_exchange), " by ", code(b.routing_key))
            for b in declared.bindings
            if b.source == exchange.name
        ]
        cells = (code(exchange.name), exchange.type, separated(", ", events), lines(bound))
        rows.append(row("exchange", exchange.name, f"exchange.{exchange.name}", cells))
    return table_of(("exchange", "type", "published to it", "passes on to"), rows)


def _end(name: str, is_exchange: bool) -> Html:
    return link(f"{'exchange' if is_exchange else 'queue'}.{name}", code(name))


def queues_table(references: References) -> Html:
    """The queues with their bindings and arguments."""
    declared = topology.topology()
    rows = []
    for queue in declared.queues:
        bound = [
            joined(_end(b.source, True), " by ", code(b.routing_key))
            for b in declared.bindings
            if b.destination == queue.name and not b.to_exchange
        ]
        arguments = [joined(code(name), " ", code(json.dumps(value))) for name, value in queue.arguments.items()]
        cells = (code(queue.name), lines(bound), lines(arguments))
        rows.append(row("queue", queue.name, f"queue.{queue.name}", cells))
    dead = references.text(DeadLetterQueue.DESCRIPTOR.full_name)
    return joined(table_of(("queue", "gets from", "arguments"), rows), dead)


def subscription_part(service: ServiceDescriptor, references: References) -> Html:
    """A subscriber: the events it takes, each with its handler, and its queues."""
    subscription = topology.subscription(service)
    consumer, replay = subscription.consumer, subscription.replay_exchange
    place = f"subscriber.{consumer}"
    facts = {
        "takes": lines(
            joined(
                type_link(topology.events()[event]), f" ({handler}) ", references.line(f"{service.full_name}.{handler}")
            )
            for event, handler in subscription.handlers.items()
        ),
        "from exchange": _end(subscription.exchange, True),
        "queue": _end(subscription.queue, False),
        "dead letters": _end(subscription.dead_letter_queue, False),
        "replayed to": _end(replay, True) if replay else Html("the default exchange"),
        "broker user": link(f"user.{consumer}", code(consumer)),
    }
    about = references.text(service.full_name)
    return entry("section", "subscriber", consumer, place, titled("h3", consumer, place), about, fact_list(facts))


def permissions_table() -> Html:
    """The permissions in RabbitMQ of each user: the services, and whoever declares the topology."""
    rows = []
    for user in permissions.contract_permissions():
        topics = [
            joined(_end(topic.exchange, True), f", {right} routing keys ", _pattern(keys))
            for topic in user.topics
            for right, keys in (("write", topic.write), ("read", topic.read))
        ]
        names = [("configure ", user.configure), ("write ", user.write), ("read ", user.read)]
        stated = [joined(right, _pattern(words)) for right, words in names]
        rows.append(row("broker user", user.user, f"user.{user.user}", (code(user.user), lines(stated + topics))))
    about = element(
        "p",
        "Each user's permissions in RabbitMQ, as regular expressions on the names of exchanges and queues, and of "
        "routing keys at the topic exchanges. A service has the user of its name; only ",
        code(permissions.DECLARER),
        " declares.",
    )
    return joined(about, table_of(("user", "permissions"), rows))


def _pattern(text: str) -> Html:
    """A regular expression, which is broken between its alternatives only."""
    pieces = text.replace("|", "|\0").split("\0")
    return element("code", *(element("span", piece, class_="piece") for piece in pieces), class_="long")
