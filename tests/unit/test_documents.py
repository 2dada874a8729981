"""The documents in docs/ are derived from the contract, all of it, and current."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
import yaml

from ordersys.contract.descriptors import is_own, reachable
from ordersys.contract.events import MAXIMUM_BYTES, Delivery, EventMessage
from ordersys.contract.topology import (
    Binding,
    Exchange,
    Queue,
    Topology,
    events,
    grpc_services,
    publication,
    subscribers,
    subscription,
    topology,
    wire_messages,
)
from ordersys.runtime.rabbitmq.messages import of_event
from tests.contract.laws.notification.test_deliveries import LARGEST_BODY, NEEDED
from tools.documents.__main__ import DOCS, texts
from tools.documents.error_reasons import reasons

ROOT = Path(__file__).parent.parent.parent
TEXTS = texts()
PAGE = TEXTS[DOCS / "contract.md"]
ASYNCAPI = yaml.safe_load(TEXTS[DOCS / "asyncapi.yaml"])
DEFINITIONS = json.loads(TEXTS[DOCS / "topology.json"])


def values(node: Any, key: str) -> Iterator[Any]:
    """The values that stand under `key`, however deep."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and key in node:
        yield node[key]
    for part in inner:
        yield from values(part, key)


def resolved(reference: str) -> Any:
    """The target of a reference inside the AsyncAPI document."""
    node = ASYNCAPI
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_a_document_is_current(path: Path) -> None:
    """The committed document is what the contract says."""
    text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
    assert text == TEXTS[path], f"{path} is not what proto/ says: run `nox -s codegen` and commit it"


def test_the_page_names_everything_a_reader_may_meet() -> None:
    """RPCs, messages, fields, enum values, events, queues and reasons."""
    rpcs = [f"#### {service.name}.{method.name}" for service in grpc_services() for method in service.methods]
    messages = [message for message in reachable(wire_messages()).values() if is_own(message.file.name)]
    fields = [f"| {field.number} | `{field.name}` |" for message in messages for field in message.fields]
    headings = [f"### {message.full_name.removeprefix('ordersys.api.')}" for message in messages]
    names = [f"`{name}`" for name in (*reasons(), *(queue.name for queue in topology().queues))]
    assert [text for text in (*rpcs, *fields, *headings, *names) if text not in PAGE] == []


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    """By the name a heading goes by: lower case, no dots."""
    headings = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", PAGE, re.M)}
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= headings


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    """To what is referred to."""
    references = list(values(ASYNCAPI, "$ref"))
    assert references
    assert all(isinstance(resolved(reference), dict) for reference in references)


def test_the_asyncapi_document_sends_every_event_where_it_is_published() -> None:
    """By its routing key, over its exchange."""
    for event in events().values():
        operation = ASYNCAPI["operations"][f"publish{event.name}"]
        channel, stated = resolved(operation["channel"]["$ref"]), publication(event)
        assert (operation["action"], operation["title"]) == ("send", stated.publisher)
        assert channel["address"] == stated.routing_key
        assert channel["bindings"]["amqp"]["exchange"]["name"] == stated.exchange
        (message,) = operation["messages"]
        assert resolved(resolved(message["$ref"])["$ref"])["name"] == event.full_name


def test_the_asyncapi_document_receives_every_event_from_the_queue_of_its_subscriber() -> None:
    """One operation a handler."""
    for service in subscribers():
        expected = subscription(service)
        for handler in expected.handlers.values():
            operation = ASYNCAPI["operations"][f"{service.name}.{handler}"]
            assert operation["action"] == "receive"
            assert resolved(operation["channel"]["$ref"])["address"] == expected.queue


def test_the_asyncapi_document_declares_queues_as_the_services_do() -> None:
    """With the same arguments."""
    channels = ASYNCAPI["channels"].values()
    documented = {c["address"]: c["x-arguments"] for c in channels if c["bindings"]["amqp"]["is"] == "queue"}
    assert documented == {queue.name: queue.arguments for queue in topology().queues}


def test_the_asyncapi_document_requires_of_a_publisher_all_that_it_sends() -> None:
    """Each property and header of a message on the wire, and no other."""
    for event in events().values():
        to = publication(event)
        sent = of_event(EventMessage("1", event.full_name, to.publisher, "1", 0, "", b""), to, "u").properties
        read = pika.BasicProperties().decode(b"".join(sent.encode()))
        message = ASYNCAPI["components"]["messages"][event.name]
        present = {name for name, value in vars(read).items() if value is not None} - {"headers"}
        assert set(message["x-properties"]["required"]) == set(message["x-properties"]["properties"]) == present
        assert set(message["headers"]["required"]) == set(message["headers"]["properties"]) == set(read.headers or {})


def test_the_asyncapi_document_requires_of_a_delivery_what_a_subscriber_needs() -> None:
    """Each property that decoding takes, as the laws `deliveries/…` have it of every subscriber, and no header."""
    for event in events().values():
        message = ASYNCAPI["components"]["messages"][f"{event.name}Taken"]
        assert message["x-properties"]["required"] == list(NEEDED)
        assert "required" not in message["headers"]
        assert message["payload"]["maxLength"] == LARGEST_BODY == MAXIMUM_BYTES
    assert {*NEEDED, "body"} == set(Delivery._fields)


def test_the_definitions_declare_the_topology_and_nothing_else() -> None:
    """Read back, they are what every service declares; no users, no permissions, no passwords."""
    read = Topology(
        tuple(Exchange(e["name"], e["type"]) for e in DEFINITIONS["exchanges"]),
        tuple(Queue(q["name"], q["arguments"]) for q in DEFINITIONS["queues"]),
        tuple(
            Binding(b["source"], b["destination"], b["destination_type"] == "exchange", b["routing_key"])
            for b in DEFINITIONS["bindings"]
        ),
    )
    assert read == topology()
    assert DEFINITIONS.keys() == {"exchanges", "queues", "bindings"}
