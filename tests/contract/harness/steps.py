"""Stories: steps in any order, a certain number of each kind, shown as they were drawn.

A permutation of steps rather than a state machine of Hypothesis: that one leaves out some kinds of steps in each
example, and begins with the simplest one, so that a few examples hardly have what matters together.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.contract.harness.call_lines import about_the_last
from tests.contract.harness.counterexamples import STORY
from tests.contract.harness.system_under_test import SystemUnderTest

_SHOWN = 120  # letters of a step: an event is long


class Step(NamedTuple):
    """A call of a method of a story, with its arguments."""

    act: Callable[..., None]
    arguments: Mapping[str, Any]

    def __repr__(self) -> str:
        """As it would be written."""
        return f"{self.act.__name__}({', '.join(f'{name}={value}' for name, value in self.arguments.items())})"


class Kind(NamedTuple):
    """A kind of steps: how often it comes in a story, its method, and what its arguments may be."""

    times: int
    act: Callable[..., None]
    arguments: Mapping[str, SearchStrategy[Any]] = {}

    def steps(self) -> SearchStrategy[Step]:
        """Any of them."""
        return st.fixed_dictionaries(dict(self.arguments)).map(lambda arguments: Step(self.act, arguments))


def stories(*kinds: Kind) -> SearchStrategy[list[Step]]:
    """Stories with these kinds of steps, in any order."""
    all_of_them = [kind for kind in kinds for _ in range(kind.times)]
    # The simplest permutation is this one: it has to be a story, too.
    random.Random(len(all_of_them)).shuffle(all_of_them)
    return st.permutations(all_of_them).flatmap(lambda order: st.tuples(*(kind.steps() for kind in order)).map(list))


class Story(Protocol):
    """A story that can be told."""

    @property
    def system(self) -> SystemUnderTest:
        """The system it is told to."""

    def begin(self) -> None:
        """Makes what every story needs."""

    def look_around(self) -> None:
        """Compares what is there with what has to be there."""

    def end(self) -> None:
        """Compares what can only be told at the end."""


def tell(story: Story, steps: Sequence[Step]) -> None:
    """Takes the steps, and looks around after each; what fails says at which step, and what was called until then."""
    log = story.system.client.log
    before, at = log.made, "at its beginning"
    try:
        story.begin()
        story.look_around()
        for number, step in enumerate(steps, 1):
            at = f"at step {number} of {len(steps)}, {step.act.__name__}"
            made = log.made
            step.act(story, **step.arguments)
            if log.made == made:  # a message, which stands in no log
                at = f"at step {number} of {len(steps)}, {str(step)[:_SHOWN]}"
            story.look_around()
        at = f"at its end, after {len(steps)} steps"
        story.end()
    except AssertionError as error:
        error.add_note("\n".join([f"{STORY} {at}; the calls that led there:", *about_the_last(log.since(before))]))
        raise
