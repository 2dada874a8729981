"""The Order Service alone against a model of it: any story of its five RPCs, with every answer and every event."""

import pytest
from hypothesis import given, settings

from tests.contract.harness.client import ORDER
from tests.contract.harness.examples import share
from tests.contract.harness.order_story import KINDS, OrderStory
from tests.contract.harness.steps import Step, stories, tell
from tests.contract.harness.system_under_test import SystemUnderTest


@pytest.mark.judges(ORDER)
@pytest.mark.cites("order_service.proto", "A repeat within 24 h answers what the first success answered")
@pytest.mark.cites("order_service.proto", "A call that failed leaves its id unused.")
@pytest.mark.cites("order_service.proto", "When set, the change is made only if the order is at this version.")
@pytest.mark.cites("order_service.proto", "Lists orders, the newest first, filtered by customer and by state.")
@pytest.mark.cites("order.proto", "When this version came to be (UTC): create_time at version 1, never before it.")
@pytest.mark.cites("order_events.proto", "The id is `ORDER.VERSION`, of OrderRejected `ORDER.0`")
@pytest.mark.cites("implement.md", "The names in `changed_fields` may stand in any order; all that changed is named")
@settings(settings.get_profile("contract"), max_examples=share(2))
@given(steps=stories(*KINDS))
def test_any_story_of_orders_goes_as_the_model_says(system: SystemUnderTest, steps: list[Step]) -> None:
    """Creations alone and in batches, changes, repeats, reuse, reads, lists: every field of each answer and event."""
    tell(OrderStory(system), steps)
