"""Each notification service alone against a model of it: any story of messages, and of requests about them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.harness.client import LISTENERS
from tests.contract.harness.examples import share
from tests.contract.harness.injector import Injector
from tests.contract.harness.recording_story import RecordingStory, kinds
from tests.contract.harness.steps import stories, tell
from tests.contract.harness.system_under_test import SystemUnderTest

pytestmark = pytest.mark.judges("broker")
STORIES = {role: stories(*kinds(role)) for role in LISTENERS}


@pytest.mark.cites("notification_log.proto", "Lists what was recorded, in the order of recording.")
@pytest.mark.cites("notification_log.proto", "Whether a newer version of the same order had been recorded before.")
@pytest.mark.cites(
    "dead_letter_service.proto", "Lists the dead letters in the order in which the service took them over"
)
@pytest.mark.cites("implement.md", "The same id with another body is rejected.")
@pytest.mark.parametrize("role", LISTENERS)
@settings(settings.get_profile("contract"), max_examples=share(4))
@given(data=st.data())
def test_any_story_of_a_subscriber_goes_as_the_model_says(
    system: SystemUnderTest, injector: Injector, role: str, data: st.DataObject
) -> None:
    """Every record and every dead letter in every field and in order, whatever comes, is replayed and discarded."""
    tell(RecordingStory(system, role, injector), data.draw(STORIES[role]))
