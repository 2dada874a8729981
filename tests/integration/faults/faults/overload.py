"""Faults of plenty: several times as many calls as the services can serve, whether they answer or not.

Guarantee: what is admitted keeps its latency and is as good as any other call; what is not is told so, soon, and
nothing was done. What is answered OK goes into the history, to be judged with everything else; what was refused
does not: should it have had an effect all the same, nobody asked for it.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import grpc
from google.rpc.status_pb2 import Status

from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest, PlaceOrderResponse
from tests.contract.harness.client import Answer
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.faults.fault import Act, Fault, FaultContext
from tests.integration.faults.faults.service_watch import harm, watching
from tests.integration.faults.workload.history import History, Try
from tests.integration.faults.workload.load import CANCELLED, OK, RESOURCE_EXHAUSTED, Call, Offer, put, requests

_FACTORS = (2, 5)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
ADMITTED, _PENDING = 300, 450
"""Calls, by default: those under way, and those that gRPC lets wait before them (runtime/rpc/limits.py)."""
MOST_AHEAD = 3 * (ADMITTED + _PENDING)
"""Calls served while one waits for its answer: those that may be ahead of it, three times.

Who makes the load, and gRPC which sends most of it away, take the processor from those who serve: at five times the
load most of it. With 3,000 pending it is 2,500 at twice the load, and 3,400 at five times.
"""
_TIMEOUT = 15.0
_SHARE = 0.2
_HALF, _WELL = 0.5, 0.9
"""Quantiles."""


class Load(NamedTuple):
    """The results of calls: with as many at a time as are admitted, and with many more."""

    measured: Sequence[Call]
    offered: Sequence[Call]


def overload_faults() -> Iterator[Fault]:
    """For a few seconds when time is short, else for a minute."""
    for times in _FACTORS:
        yield Fault(f"overload, {times} times what can be done", overloads(times), measures=True)


def overloads(times: float) -> Act:
    """Offers that much."""

    def act(context: FaultContext) -> Sequence[Finding]:
        measured, seconds = (1.0, 2.5) if context.quick else (5.0, 60.0)
        known = context.environment.identities
        offer = Offer(context.name, context.goods.plenty, times, measured, seconds, _TIMEOUT, known)
        with watching(context.environment) as seen:
            calls = put(context.environment.service("product_service").address, offer)
        remember(context.history, calls, requests(offer.name, offer.products))
        load = Load([c for c in calls if not c.offered], [c for c in calls if c.offered])
        return list(chain(unsaid(load), late(load), collapsed(load), harm(seen)))

    return act


def unsaid(load: Load) -> Iterator[Finding]:
    """Every call is answered: done, or refused with when to come again; what nobody looked at, as given up."""
    wrong = Counter(call.code for call in load.offered if not _well_said(call))
    for code, count in wrong.items():
        yield Finding(Kind.UNRECOVERED, f"{count} calls too many were answered {_CODES[code].name}")


def _well_said(call: Call) -> bool:
    return call.code in (OK, CANCELLED) or (call.code == RESOURCE_EXHAUSTED and call.retry)


def late(load: Load) -> Iterator[Finding]:
    """Neither those served nor those refused wait behind more calls than are let in: no queue grows unseen.

    Counted in calls, not in seconds: how fast a service is under such a load depends on the machine, and what the
    generator of the load takes of it; how many calls it lets wait does not. The time until a call is read at all is
    not the service's either: it is what those take that gRPC sends away as soon as it reads them.
    """
    rate, unread = _rate(load.offered), _quantile(_with(load.offered, CANCELLED), _HALF)
    refused = [call for call in load.offered if call.code not in (OK, CANCELLED)]
    for said, answers in (("served", _with(load.offered, OK)), ("refused", refused)):
        waited = _quantile(answers, _WELL) - unread
        if (ahead := waited * rate) > MOST_AHEAD:
            behind = f"behind {ahead:.0f}; {MOST_AHEAD} are allowed"
            text = f"calls were {said} {waited:.1f} s after they were read, {behind}"
            yield Finding(Kind.UNRECOVERED, text)


def collapsed(load: Load) -> Iterator[Finding]:
    """The more is asked for, the less is done: not so."""
    could, did = (_rate(calls) for calls in load)
    if did < _SHARE * could:
        yield Finding(Kind.UNRECOVERED, f"{did:.0f} calls a second were served, where {could:.0f} could be")


def _with(calls: Iterable[Call], code: int) -> list[Call]:
    return [call for call in calls if call.code == code]


def _quantile(calls: Iterable[Call], share: float) -> float:
    """The time that share of the calls takes at most."""
    took = sorted(call.took for call in calls)
    return took[int(share * len(took))] if took else 0.0


def _rate(calls: Sequence[Call]) -> float:
    """Calls served a second."""
    return len(_with(calls, OK)) / max(_spread(calls), 1e-9)


def _spread(calls: Sequence[Call]) -> float:
    """Seconds from the first question to the last answer."""
    return max(call.ended for call in calls) - min(call.due for call in calls) if calls else 0.0


def remember(history: History, calls: Sequence[Call], asked: Iterator[PlaceOrderRequest]) -> None:
    """Notes down what was served, and what is open and never asked for again."""
    for call, request in zip(calls, asked, strict=False):
        if call.code not in (CANCELLED, RESOURCE_EXHAUSTED):
            operation = history.begin(-1, request)
            operation.tries.append(Try(call.due, call.ended, _answer(call)))
            operation.abandoned = call.code != OK


def _answer(call: Call) -> Answer:
    code = _CODES[call.code]
    if call.code != OK:
        return Answer(code, None, Status(code=call.code))
    return Answer(code, PlaceOrderResponse.FromString(base64.b64decode(call.body)), Status())
