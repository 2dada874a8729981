"""A RabbitMQ that does not start: the error says whether it was waited for, how long, and what to do."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ordersys.local import rabbitmq
from ordersys.local.child import Child
from ordersys.local.guard import Guard
from ordersys.local.rabbitmq import Membership, Node, NotStarted


class Program(Node):
    """Another program in the place of RabbitMQ's."""

    def __init__(self, folder: Path, guard: Guard, command: Sequence[str]) -> None:
        super().__init__(folder, guard, Membership("node", None, ["node"], "", set()))
        self._command = command

    def prepare(self) -> None:
        """Its log has a folder."""
        self.log.parent.mkdir(parents=True)

    def control(self, *command: str) -> str:
        """It takes no commands."""
        raise NotImplementedError

    def _run(self) -> Child:
        return Child(self._command, {}, self.log, self._guard)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """It kills what a failed test leaves."""
    with closing(Guard(tmp_path)) as guard:
        yield guard


def test_one_that_never_answers_is_given_up_with_the_limit(
    tmp_path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is ended."""
    monkeypatch.setattr(rabbitmq, "_BOOT_SECONDS", 0.5)
    node = Program(tmp_path / "node", guard, ["/bin/sleep", "600"])
    with pytest.raises(NotStarted, match=r"not answered within 0\.5 s; mend what its log names, or start again when"):
        node.start()
    assert not node.running


def test_one_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path, guard: Guard) -> None:
    """At once: nobody waits for a program that has gone."""
    node = Program(tmp_path / "node", guard, ["/bin/sh", "-c", "echo no room; exit 1"])
    with pytest.raises(NotStarted, match=r"has ended before it answered; mend what its log names") as ended:
        node.start()
    assert str(ended.value).endswith(f"{node.log}:\nno room")
