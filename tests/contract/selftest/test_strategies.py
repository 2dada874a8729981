"""The generators keep their word: held against the reference implementation of the rules."""

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from ordersys.contract import descriptors
from ordersys.contract.topology import events
from ordersys.contract.validation import violations
from tests.contract.harness import strategies
from tests.contract.harness.invalid_messages import SPOILED

SERVICES = [service for service in descriptors.services() if not service.name.startswith("NotificationService")]
KINDS = [*(method.input_type for service in SERVICES for method in service.methods), *events().values()]


def test_there_is_a_generator_for_every_rule_of_the_contract() -> None:
    """A rule nobody can generate for would be a law nobody tests."""
    assert strategies.unknown_rules() == set()
    assert all(strategies.has_rules(kind) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
def test_what_is_called_valid_keeps_all_rules(kind: Descriptor, data: st.DataObject) -> None:
    """No violations."""
    assert violations(data.draw(strategies.valid(kind))) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
def test_what_is_called_invalid_breaks_exactly_the_rule_it_names(kind: Descriptor, data: st.DataObject) -> None:
    """One violation, of that rule, at that path; in an event perhaps also of the rules between its fields."""
    broken = data.draw(strategies.invalid(kind))
    broken_rules = [(v.field, v.rule) for v in violations(broken.message)]
    assert (broken.field, broken.rule) in broken_rules
    assert {rule for _, rule in broken_rules} - {broken.rule} <= SPOILED.keys()
    assert kind.full_name in events() or len(broken_rules) == 1
