"""Dead letters from the command line: listed, replayed, discarded; whatever dies meanwhile, none is lost."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from ordersys.api.notification.v1.dead_letter_service_pb2 import ReplayDeadLettersRequest
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.local.system import System
from ordersys.runtime.base.failpoints import VARIABLE
from tests.contract.harness.amqp_properties import counted, encoded, entry, short
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.sample_orders import sample_order
from tests.integration.api import Api, eventually, new_id

SECONDS = 60
ROLE, NAME, KEY = "notification-service-2", "notification_service_2", "notification_service_2"
NOT_REACHABLE = 3


def client(system: System, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The client's command dead-letters."""
    return subprocess.run(
        [sys.executable, "-m", "ordersys.grpc_client", *words],
        env={**os.environ, **system.environment, **environment},
        timeout=SECONDS,
        check=False,
        capture_output=True,
        text=True,
    )


def told(system: System, *words: str) -> Any:
    """The output for programs."""
    done = client(system, "--json", "dead-letters", *words)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def aside(api: Api, injector: Injector, *events: OrderCreated) -> list[str]:
    """The ids of events that became dead letters."""
    event_ids = [injector.put_aside(ROLE, event) for event in events]

    def taken_over() -> list[str] | None:
        by_event = {letter.event_id: letter.id for letter in api.dead_letters(2)}
        return [by_event[event_id] for event_id in event_ids] if by_event.keys() >= set(event_ids) else None

    return eventually(taken_over, SECONDS)


@contextmanager
def dying(system: System, point: str) -> Iterator[None]:
    """Notification Service 2 dies at that point; afterwards it runs as before."""
    service = system.services[NAME]
    service.stop()
    environment = {**os.environ, **system.environment, VARIABLE: point}
    command = [sys.executable, "-m", f"ordersys.{NAME}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("consumer: connected" in line for line in process.stdout)
        try:
            yield
            assert process.wait(SECONDS) == -signal.SIGKILL
        finally:
            process.kill()
    service.start()
    service.wait_healthy()


@pytest.fixture(autouse=True)
def none_but_its_own(system: System) -> Iterator[None]:
    """Other modules leave dead letters behind, whichever of them came before; this one leaves none."""
    discard_all(system)
    yield
    discard_all(system)


def discard_all(system: System) -> None:
    """Discards what the service has."""
    with Api(system.environment) as api:
        if letters := [letter.id for letter in api.dead_letters(2)]:
            told(system, "discard", *letters)


def test_they_are_listed_for_people_with_the_way_out(system: System, injector: Injector, api: Api) -> None:
    """Which, since when and why; and how to go on."""
    injector.deliver(ROLE, OrderCreated(order=sample_order()), b"\xff\xff")
    (letter,) = eventually(lambda: api.dead_letters(2), SECONDS)
    shown = client(system, "dead-letters", "--service", "2", COLUMNS="200").stdout
    assert letter.id in shown
    assert "Notification Service 2: 1 dead letter\n" in shown
    assert "rejected; the body is no ordersys.api.order.v1.OrderCreated" in shown
    assert "dead-letters replay ID" in shown


def test_one_is_replayed_and_the_others_stay(system: System, injector: Injector, api: Api) -> None:
    """The dead letter that was named is recorded; the others are dead letters as before."""
    orders = [sample_order() for _ in range(3)]
    first, second, third = aside(api, injector, *(OrderCreated(order=order) for order in orders))
    assert told(system, "replay", second) == {"notification_service_1": [], KEY: [second], "not_found": []}
    eventually(lambda: api.heard(2, orders[1].id), SECONDS)
    assert [letter.id for letter in api.dead_letters(2)] == [first, third]
    assert told(system, "replay", "--all")[KEY] == [first, third]
    eventually(lambda: api.heard(2, orders[0].id) and api.heard(2, orders[2].id), SECONDS)
    assert told(system)[KEY] == []


def test_they_are_discarded_on_request(system: System, injector: Injector, api: Api) -> None:
    """Those that are named, or all."""
    first, *others = aside(api, injector, *(OrderCreated(order=sample_order()) for _ in range(3)))
    assert told(system, "discard", first)[KEY] == [first]
    assert told(system, "discard", "--all")[KEY] == others


def test_what_is_not_there_is_said(system: System) -> None:
    """By name, with exit status 1."""
    nowhere = "0" * 32
    done = client(system, "dead-letters", "replay", nowhere)
    assert done.returncode == 1
    assert f"{nowhere} is not there" in done.stdout


@pytest.mark.parametrize(
    "words", [["replay"], ["discard"], ["replay", "x"], ["list", "--all"], ["replay", "0" * 32, "--all"], ["burn"]]
)
def test_wrong_words_are_answered_with_the_right_ones(system: System, words: list[str]) -> None:
    """Exit status 2 and a sentence; nothing is done."""
    done = client(system, "dead-letters", *words)
    assert done.returncode == 2
    assert "dead-letters" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("point", ["broker.sent", "dead_letters.dealt_with", "dead_letters.removed"])
def test_a_crash_in_the_middle_of_a_replay_loses_nothing(
    system: System, injector: Injector, api: Api, point: str
) -> None:
    """The command says that there was no answer; said again, it does what is left, and each event has one record."""
    orders = [sample_order() for _ in range(5)]
    aside(api, injector, *(OrderCreated(order=order) for order in orders))
    with dying(system, point):
        done = client(system, "dead-letters", "replay", "--all", "--service", "2")
        assert done.returncode == NOT_REACHABLE
        assert "Repeat the command" in done.stderr
    told(system, "replay", "--all")
    for order in orders:
        eventually(lambda order=order: api.heard(2, order.id), SECONDS)  # type: ignore[misc]
    eventually(lambda: not api.dead_letters(2), SECONDS)
    assert [len(api.heard(2, order.id)) for order in orders] == [1] * 5


def test_a_crash_in_the_middle_of_taking_over_loses_nothing(system: System, injector: Injector, api: Api) -> None:
    """A dead letter that was kept and not acknowledged comes again, and is kept once."""
    with dying(system, "consumer.recorded"):
        event_id = injector.put_aside(ROLE, OrderCreated(order=sample_order()))
    eventually(lambda: any(letter.event_id == event_id for letter in api.dead_letters(2)), SECONDS)
    injector.put_aside(ROLE, OrderCreated(order=sample_order()))
    assert len(eventually(lambda: listed if len(listed := api.dead_letters(2)) > 1 else None, SECONDS)) == 2


def test_more_than_is_held_at_a_time_is_dealt_with_by_one_request(system: System, injector: Injector, api: Api) -> None:
    """A part of them is in memory at a time."""
    size = 2 * 1024 * 1024
    for number in range(12):
        injector.put_aside(ROLE, OrderCreated(), bytes([number]) * size)
    letters = eventually(lambda: listed if len(listed := told(system)[KEY]) == 12 else None, SECONDS)
    ids = [letter["id"] for letter in letters]
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=ids)
    assert list(api.letters[2].ReplayDeadLetters(request, timeout=SECONDS).dead_letter_ids) == ids
    assert len(eventually(lambda: listed if len(listed := api.dead_letters(2)) == 12 else None, SECONDS)) == 12
    assert sorted(told(system, "discard", "--all")[KEY]) == sorted(ids)
    assert api.dead_letters(2) == []


def test_a_message_with_as_many_headers_as_fit_is_dealt_with(system: System, injector: Injector, api: Api) -> None:
    """Headers that the broker adds make it larger than it could have been published; a copy is not."""
    properties = {
        "headers": counted(entry(b"h", b"S" + counted(b"x" * 130_900))),
        "message_id": short(b"many"),
    }
    injector.put_raw(SUBSCRIPTIONS[ROLE].queue, b"\xff\xff", encoded(properties))
    (letter,) = eventually(lambda: api.dead_letters(2), SECONDS)
    assert told(system, "replay", letter.id)[KEY] == [letter.id]
    (again,) = eventually(lambda: api.dead_letters(2), SECONDS)
    assert (again.id, again.event_id) == (letter.id, "many")


def test_one_the_broker_refuses_keeps_no_other_back(system: System, injector: Injector, api: Api) -> None:
    """The copy of a message that names an invalid time to wait has the broker close the AMQP channel."""
    first, last = sample_order(), sample_order()
    ids = aside(api, injector, OrderCreated(order=first))
    refused = planted(system, "many", {"expiration": short(b"never")})
    ids += [refused, *aside(api, injector, OrderCreated(order=last))]
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=ids)
    assert list(api.letters[2].ReplayDeadLetters(request, timeout=SECONDS).dead_letter_ids) == [ids[0], ids[2]]
    for order in (first, last):
        eventually(lambda order=order: api.heard(2, order.id), SECONDS)  # type: ignore[misc]
    assert [letter.id for letter in api.dead_letters(2)] == [refused]
    assert refused in system.services[NAME].log.read_text()


def planted(system: System, event_id: str, properties: dict[str, bytes]) -> str:
    """Puts a dead letter into the database that no broker would have taken from anybody; its id."""
    service = system.services[NAME]
    service.stop()
    raw = encoded({"message_id": short(event_id.encode()), **properties})
    with closing(sqlite3.connect(system.folder / "databases" / "notification-service-2.db")) as database:
        values = ("0" * 31 + "1", raw, b"x", b"", 1, 0)
        columns = "letter_id, properties, beginning, rest, size, time"
        database.execute(f"INSERT INTO dead_letters ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608
        database.commit()
    service.start()
    service.wait_healthy()
    return str(values[0])
