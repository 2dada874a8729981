"""The actions by which a system may be broken: one table with their targets and bounds, and who asks for one. Pure.

To add one: a line of ACTIONS; its effect in `Breaking._do`, and its end, after its seconds by itself (`_until_over`)
and at once by `_mend`; its label, its state and when its button rests, in `live/static/breaking.js`; a row of the table
in docs/live.md; a request in tests/unit/test_breaking.py, and a real one in tests/integration/test_break_it.py.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

STATUS = "status"
"""Asks for the state, and does nothing."""
BURST, KILL, PAUSE, CUT, POISON, FILL, MEND = "burst", "kill", "pause", "cut", "poison", "fill", "mend"
PROCESS, LINK, SUBSCRIBER, NOTHING = "process", "link", "subscriber", ""
"""The kinds of targets."""
MOST_BYTES = 1024
"""Of a request."""
_SECONDS = "seconds"
_FIELDS = frozenset({"action", "target", "amount"})


class Refused(Exception):
    """An action that is not done; the text says why. `conflict` is one that may be done later."""

    def __init__(self, text: str, conflict: bool = False) -> None:
        super().__init__(text)
        self.conflict = conflict


class Bounds(NamedTuple):
    """The amount of an action: its unit, its limits, and what is usual."""

    unit: str
    least: int
    most: int
    usual: int


DOWN_SECONDS = 2.5
"""A process that was killed stays away for so long before it is started again: long enough to be seen."""
FILL_SECONDS = 12
"""For so long a subscriber takes nothing from its queue while that is filled."""


class Action(NamedTuple):
    """An action, by the kind of its targets; `bounds` is None where there is nothing to say how much.

    `seconds` is how long its target is broken where the amount does not say so; 0 where nothing is broken.
    """

    name: str
    kind: str
    bounds: Bounds | None = None
    seconds: float = 0

    @property
    def most_seconds(self) -> float:
        """The longest time for which its target is broken."""
        return self.bounds.most if self.bounds is not None and self.bounds.unit == _SECONDS else self.seconds


# 30 s of pause are less than RabbitMQ's and gRPC's own patience; 1,000 orders are some seconds of work.
ACTIONS: Mapping[str, Action] = {
    action.name: action
    for action in (
        Action(BURST, NOTHING, Bounds("orders", 1, 1000, 200)),
        Action(KILL, PROCESS, seconds=DOWN_SECONDS),
        Action(PAUSE, PROCESS, Bounds(_SECONDS, 1, 30, 12)),
        Action(CUT, LINK, Bounds(_SECONDS, 1, 30, 12)),
        Action(POISON, NOTHING),
        Action(FILL, SUBSCRIBER, Bounds("orders", 1, 1000, 200), FILL_SECONDS),
        Action(MEND, NOTHING),
    )
}


class Request(NamedTuple):
    """An action that is asked for, within its bounds."""

    action: str
    target: str = ""
    amount: int = 0


def parse(octets: bytes, targets: Mapping[str, Collection[str]]) -> Request:
    """The request in a line of JSON, such as `{"action": "pause", "target": "order_service", "amount": 12}`.

    `targets` are the names there are, by kind. Raises Refused.
    """
    fields = _fields(octets)
    name, target = fields.get("action"), fields.get("target", "")
    if name == STATUS and fields.keys() == {"action"}:
        return Request(STATUS)
    action = ACTIONS.get(name) if isinstance(name, str) else None
    if action is None:
        raise Refused(f"there is no such action; there are {', '.join(ACTIONS)}")
    if action.kind == NOTHING:
        if target != "":
            raise Refused(f"{action.name} has no target")
    elif not isinstance(target, str) or target not in targets[action.kind]:
        raise Refused(f"{action.name} has one of these targets: {', '.join(targets[action.kind]) or 'none here'}")
    return Request(action.name, target, _amount(action, fields))


def _fields(octets: bytes) -> Mapping[str, Any]:
    if len(octets) > MOST_BYTES:
        raise Refused(f"a request has {MOST_BYTES} bytes at most")
    try:
        fields = json.loads(octets)
    except (ValueError, RecursionError):
        raise Refused("a request is a line of JSON") from None
    if not isinstance(fields, dict) or not fields.keys() <= _FIELDS:
        raise Refused(f"a request is an object of {', '.join(sorted(_FIELDS))}")
    return fields


def _amount(action: Action, fields: Mapping[str, Any]) -> int:
    bounds, amount = action.bounds, fields.get("amount")
    if bounds is None:
        if amount is not None:
            raise Refused(f"{action.name} has no amount")
        return 0
    if amount is None:
        return bounds.usual
    if type(amount) is not int or not bounds.least <= amount <= bounds.most:
        raise Refused(f"{action.name} takes {bounds.least} to {bounds.most} {bounds.unit}")
    return amount


def named(target: str) -> str:
    """A target as it is shown: order-service, or order-service – rabbitmq."""
    return target.replace("_", "-").replace("/", " – ")
