"""Tests of evolution: what breaks somebody is found and says whom, and what only widens the contract is not."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.compat.compatible_changes import COMPATIBLE_CHANGES
from tests.compat.contract_changes import ORDER, Change, contract_with
from tests.compat.image import image
from tests.compat.incompatible_topology import INCOMPATIBLE_TOPOLOGY
from tests.compat.narrower_rights import NARROWER_RIGHTS
from tests.compat.stricter_rules import REWORDED, STRICTER_RULES
from tools.compat import complete, findings, notes, release


def test_a_contract_breaks_nothing_of_itself() -> None:
    """Nor of what is kept of it."""
    assert findings(image(), image()) == []
    assert findings(release(image()), image()) == []


@pytest.mark.parametrize("change", STRICTER_RULES.values(), ids=STRICTER_RULES)
def test_a_stricter_rule_is_found(change: Change) -> None:
    """Once, with the field, the values that are refused, and whom that breaks."""
    assert findings(image(), change.made()) == [change.finding]


@pytest.mark.parametrize("change", STRICTER_RULES.values(), ids=STRICTER_RULES)
def test_a_rule_made_looser_breaks_nobody(change: Change) -> None:
    """A message that was valid stays valid."""
    assert findings(change.made(), image()) == []


@pytest.mark.parametrize("change", REWORDED.values(), ids=REWORDED)
def test_a_rule_in_other_words_is_found(change: Change) -> None:
    """Whichever way: nobody can tell whether it became looser."""
    (finding,) = findings(image(), change.made())
    assert finding.startswith(change.finding)
    assert len(findings(change.made(), image())) == 1


def test_a_rule_is_found_for_everybody_it_breaks() -> None:
    """A message of requests and events breaks clients and consumers."""
    rules = "options { [buf.validate.field] { int32 { lte: 9 } } }"
    clients, consumers = findings(image(), contract_with(f"{ORDER}.OrderItem.quantity", rules))
    assert clients.startswith(f"Clients that send {ORDER}.OrderItem.quantity above 9 ")
    assert consumers.startswith(f"Consumers send events published with {ORDER}.OrderItem.quantity above 9 ")


@pytest.mark.parametrize("change", INCOMPATIBLE_TOPOLOGY.values(), ids=INCOMPATIBLE_TOPOLOGY)
def test_a_topology_or_a_reason_that_is_not_what_it_was_is_found(change: Change) -> None:
    """With what it is now, and whom that breaks."""
    assert change.finding in findings(image(), change.made())


@pytest.mark.parametrize("change", NARROWER_RIGHTS.values(), ids=NARROWER_RIGHTS)
def test_a_right_that_is_gone_is_found(change: Change) -> None:
    """Once, with those who have lost it; given back, it breaks nobody."""
    assert findings(image(), change.made()) == [change.finding]
    assert findings(change.made(), image()) == []


def test_rights_where_none_were_stated_break_nobody() -> None:
    """Nobody was promised what the released contract left open."""
    silent = FileDescriptorSet()
    silent.CopyFrom(image())
    for method in [method for file in silent.file for service in file.service for method in service.method]:
        method.ClearField("options")
    assert findings(silent, image()) == []


def test_an_event_gone_is_found() -> None:
    """By whoever waits for it."""
    assert findings(COMPATIBLE_CHANGES["an event"].made(), image()) == [
        f"Subscribers of {ORDER}.OrderArchived get none any more: it is no event now."
    ]


@pytest.mark.parametrize("change", COMPATIBLE_CHANGES.values(), ids=COMPATIBLE_CHANGES)
def test_what_widens_the_contract_breaks_nobody(change: Change) -> None:
    """Fields, messages, exchanges, events, subscriptions and reasons may be added, and texts improved."""
    assert findings(image(), change.made()) == []


def test_what_has_to_be_deployed_in_order_is_said() -> None:
    """An event that nobody takes, and one that an older subscriber does not know; of other changes nothing."""
    said = {name: notes(image(), change.made()) for name, change in COMPATIBLE_CHANGES.items()}
    (nobody,), (order,) = said.pop("an event"), said.pop("an event taken")
    assert nobody.startswith(f"Nobody takes {ORDER}.OrderArchived: the broker returns it")
    assert order.startswith("Deploy notification-service-1 before every publisher: an older one dead-letters ")
    assert not any(said.values())


def test_what_is_kept_of_a_release_is_small_and_our_own() -> None:
    """No comments, no places, no files of others; completed, it can be read like any image."""
    kept = release(image())
    assert {file.name.split("/")[0] for file in kept.file} == {"ordersys"}
    assert kept.ByteSize() < 25_000
    assert [file.name for file in release(complete(kept, image())).file] == [file.name for file in kept.file]
