"""Laws of what was written under a released contract: it is understood, valid and handled ever after.

A rule that the record of narrowings names may refuse an event: the golden events of v1 tell of orders that can't be.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict

from ordersys.contract import descriptors
from ordersys.contract.events import CONTENT_TYPE, Delivery, decode
from ordersys.contract.topology import events, wire_messages
from ordersys.contract.validation import violations
from tests.contract.image import image
from tests.contract.wire import ROLES, RPCS
from tests.contract.world import World
from tools.compat import complete
from tools.compat.__main__ import narrowings
from tools.compat.golden import golden as made

RELEASED = Path(__file__).parent.parent.parent / "proto/released"


class Golden(NamedTuple):
    """A message as it was written: its type, what it said, its bytes."""

    type: str
    says: dict[str, Any]
    body: bytes


def _read(path: Path) -> list[Golden]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [Golden(entry["type"], entry["says"], bytes.fromhex(entry["bytes"])) for entry in entries]


KINDS = {kind.full_name: kind for kind in wire_messages()}
GOLDEN = [golden for path in sorted(RELEASED.glob("*.golden.json")) for golden in _read(path)]
EVENTS = [golden for golden in GOLDEN if golden.type in events()]
REQUESTS = [
    (role, method, golden)
    for role in ROLES
    for method in RPCS[role]
    for golden in GOLDEN
    if golden.type == method.input_type.full_name
]


NARROWED = [found[1] for sentence in narrowings() if (found := re.search(r"\((\S+): ", sentence))]


def refused(message: Any) -> list[str]:
    """The rules a message breaks, but those the contract was narrowed by."""
    ids = [found.rule for found in violations(message)]
    return [one for one in ids if not any(one.endswith(rule) or rule.endswith(one) for rule in NARROWED)]


def name(thing: object) -> str:
    """What a failing case is called."""
    return str(getattr(thing, "type", None) or getattr(thing, "name", thing))


def parsed(golden: Golden) -> Any:
    """A golden message as it is understood now."""
    return descriptors.message_class(KINDS[golden.type]).FromString(golden.body)


def test_there_are_golden_messages_of_every_kind() -> None:
    """Of each request, response and event that was released."""
    released = FileDescriptorSet.FromString((RELEASED / "v1.binpb").read_bytes())
    written = {kind.full_name for kind in wire_messages(descriptors.link(complete(released, image())))}
    assert {golden.type for golden in GOLDEN} == written


@pytest.mark.parametrize("golden", GOLDEN, ids=name)
def test_a_golden_message_says_what_it_said(golden: Golden) -> None:
    """Every field by its name."""
    assert MessageToDict(parsed(golden), preserving_proto_field_name=True) == golden.says


@pytest.mark.parametrize("golden", GOLDEN, ids=name)
def test_a_golden_message_loses_nothing(golden: Golden) -> None:
    """It is written as it was, although what is unknown is left out."""
    message = parsed(golden)
    message.DiscardUnknownFields()
    assert message.SerializeToString(deterministic=True) == golden.body


@pytest.mark.parametrize("golden", GOLDEN, ids=name)
def test_a_golden_message_keeps_the_rules(golden: Golden) -> None:
    """What was valid is valid; in an event but for what the contract was narrowed by, on record."""
    if golden.type in events():
        assert refused(parsed(golden)) == []
    elif not golden.type.endswith("Response"):
        assert violations(parsed(golden)) == []


@pytest.mark.parametrize("golden", EVENTS, ids=name)
def test_a_golden_event_is_decoded(golden: Golden) -> None:
    """Whoever takes its type takes what waits in a queue since the release, if an order can be as it says."""
    if violations(parsed(golden)):
        assert refused(parsed(golden)) == []
        return
    event = decode(Delivery("an-id", golden.type, CONTENT_TYPE, golden.body))
    assert event.message == parsed(golden)
    assert event.order_id


@pytest.mark.parametrize("kind", KINDS.values(), ids=name)
def test_what_a_release_would_write_keeps_the_rules(kind: Descriptor) -> None:
    """Golden messages to come are such as a service writes, those between the fields of an event included."""
    assert [found for message in made(kind) for found in violations(message)] == [] or kind.name.endswith("Response")


@pytest.mark.parametrize(("role", "method", "golden"), REQUESTS, ids=name)
def test_a_golden_request_is_taken(world: World, role: str, method: MethodDescriptor, golden: Golden) -> None:
    """Answered on its merits: neither undecodable nor against a rule."""
    answer = world.wire.send(method, golden.body, role)
    assert answer.reason not in ("UNDECODABLE_REQUEST", "INVALID_REQUEST"), answer.fields
    assert answer.code is grpc.StatusCode.OK or answer.reason, answer.status
