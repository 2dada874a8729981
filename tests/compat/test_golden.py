"""Tests of what was written under a released contract: it is understood and valid ever after.

A rule that the record of narrowings names may refuse an event: the golden events of v1 tell of orders that can't be.
"""

import re
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict

from ordersys.contract import descriptors
from ordersys.contract.events import CONTENT_TYPE, Delivery, decode
from ordersys.contract.topology import events, wire_messages
from ordersys.contract.validation import violations
from tests.compat.image import image
from tests.contract.harness.golden_messages import GOLDEN, RELEASED, Golden, case_name
from tools.compat import complete
from tools.compat.__main__ import narrowings
from tools.compat.golden import golden as golden_messages

KINDS = {kind.full_name: kind for kind in wire_messages()}
EVENTS = [golden for golden in GOLDEN if golden.type in events()]

NARROWED = [match[1] for sentence in narrowings() if (match := re.search(r"\((\S+): ", sentence))]


def refused(message: Any) -> list[str]:
    """The rules a message breaks, but those the contract was narrowed by."""
    rules = [violation.rule for violation in violations(message)]
    return [rule for rule in rules if not any(rule.endswith(known) or known.endswith(rule) for known in NARROWED)]


def parsed(golden: Golden) -> Any:
    """A golden message as it is understood now."""
    return descriptors.message_class(KINDS[golden.type]).FromString(golden.body)


def test_there_are_golden_messages_of_every_kind() -> None:
    """Of each request, response and event that was released."""
    released = FileDescriptorSet.FromString((RELEASED / "v1.binpb").read_bytes())
    written = {kind.full_name for kind in wire_messages(descriptors.link(complete(released, image())))}
    assert {golden.type for golden in GOLDEN} == written


@pytest.mark.parametrize("golden", GOLDEN, ids=case_name)
def test_a_golden_message_says_what_it_said(golden: Golden) -> None:
    """Every field by its name."""
    assert MessageToDict(parsed(golden), preserving_proto_field_name=True) == golden.says


@pytest.mark.parametrize("golden", GOLDEN, ids=case_name)
def test_a_golden_message_loses_nothing(golden: Golden) -> None:
    """It is written as it was, although what is unknown is left out."""
    message = parsed(golden)
    message.DiscardUnknownFields()
    assert message.SerializeToString(deterministic=True) == golden.body


@pytest.mark.parametrize("golden", GOLDEN, ids=case_name)
def test_a_golden_message_keeps_the_rules(golden: Golden) -> None:
    """A valid message stays valid; in an event but for what the contract was narrowed by, on record."""
    if golden.type in events():
        assert refused(parsed(golden)) == []
    elif not golden.type.endswith("Response"):
        assert violations(parsed(golden)) == []


@pytest.mark.parametrize("golden", EVENTS, ids=case_name)
def test_a_golden_event_is_decoded(golden: Golden) -> None:
    """An event in a queue since the release is decoded by a consumer of its type, if an order can be as it says."""
    if violations(parsed(golden)):
        assert refused(parsed(golden)) == []
        return
    event = decode(Delivery("an-id", golden.type, CONTENT_TYPE, golden.body))
    assert event.message == parsed(golden)
    assert event.order_id


@pytest.mark.parametrize("kind", KINDS.values(), ids=case_name)
def test_what_a_release_would_write_keeps_the_rules(kind: Descriptor) -> None:
    """Golden messages to come are such as a service writes, those between the fields of an event included."""
    assert [
        violation for message in golden_messages(kind) for violation in violations(message)
    ] == [] or kind.name.endswith("Response")
