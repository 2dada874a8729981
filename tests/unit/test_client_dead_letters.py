"""Dead letters taken out by the client: before a real gRPC server that can't deal with some of them."""

import argparse
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLettersRequest,
    DiscardDeadLettersResponse,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    ReplayDeadLettersRequest,
    ReplayDeadLettersResponse,
)
from ordersys.api.notification.v1.dead_letter_service_pb2_grpc import (
    DeadLetterServiceServicer,
    add_DeadLetterServiceServicer_to_server,
)
from ordersys.contract.addresses import Address
from ordersys.contract.errors import status_error
from ordersys.grpc_client import outcome
from ordersys.grpc_client.connection import Client
from ordersys.grpc_client.dead_letters import dead_letters
from ordersys.grpc_client.peers import Peer

IDS = [f"{number:032x}" for number in range(7)]
BROKEN, STAYING = IDS[2], IDS[4]


class Letters(DeadLetterServiceServicer):
    """A service that fails over some of its dead letters, and can't move others."""

    def __init__(self, broken: Collection[str], staying: Collection[str]) -> None:
        self.there = list(IDS)
        self._broken = broken
        self._staying = staying

    async def ListDeadLetters(self, request: ListDeadLettersRequest, context: Any) -> ListDeadLettersResponse:
        return ListDeadLettersResponse(dead_letters=[DeadLetter(id=letter_id) for letter_id in self.there])

    async def DiscardDeadLetters(self, request: DiscardDeadLettersRequest, context: Any) -> DiscardDeadLettersResponse:
        raise NotImplementedError  # not asked for here

    async def ReplayDeadLetters(self, request: ReplayDeadLettersRequest, context: Any) -> ReplayDeadLettersResponse:
        if any(letter_id in self._broken for letter_id in request.dead_letter_ids):
            status = status_error(ErrorReason.BROKER_UNAVAILABLE).status
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, status.message)
        done = [
            letter_id
            for letter_id in request.dead_letter_ids
            if letter_id in self.there and letter_id not in self._staying
        ]
        self.there = [letter_id for letter_id in self.there if letter_id not in done]
        return ReplayDeadLettersResponse(dead_letter_ids=done)


@asynccontextmanager
async def served(letters: Letters) -> AsyncIterator[Client]:
    """A client of a server with these letters."""
    server = grpc.aio.server()
    add_DeadLetterServiceServicer_to_server(letters, server)
    address = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    peer = Peer("Notification Service 1", "notification_service_1", address)
    client = Client((peer, peer, peer, peer), 0.3)
    try:
        yield client
    finally:
        await client.close()
        await server.stop(None)


def typed(*ids: str, as_json: bool = False) -> argparse.Namespace:
    """dead-letters replay, of these or of all."""
    return argparse.Namespace(
        action="replay", ids=list(ids), all=not ids, service=1, limit=None, output="json" if as_json else "table"
    )


async def test_all_are_replayed_but_the_one_that_cant_be(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with the reason; the others are done."""
    letters = Letters([BROKEN], [])
    async with served(letters) as client:
        assert await dead_letters(client, typed()) == outcome.NOT_REACHABLE
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Notification Service 1: replayed 6"
    assert said[1].startswith(f"{BROKEN} can't be replayed: The Notification Service 1 can't reach its message broker")
    assert letters.there == [BROKEN]


async def test_equal_messages_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """They have one id, and the list has a line for each: a count of ids alone looks as if some were left."""
    letters = Letters([], [])
    letters.there += [IDS[0]] * 4
    async with served(letters) as client:
        assert await dead_letters(client, typed()) == outcome.DONE
    assert capsys.readouterr().out.splitlines() == ["Notification Service 1: replayed 7 (11 messages)"]


async def test_one_that_stays_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status says that not all was done, for one that was named and for one of all."""
    for words in (typed(), typed(STAYING)):
        async with served(Letters([], [STAYING])) as client:
            assert await dead_letters(client, words) == outcome.REFUSED
        _, *said = capsys.readouterr().out.splitlines()
        assert len(said) == 1 and said[0].startswith(f"{STAYING} was not replayed: the broker did not take it")


async def test_programs_find_those_that_were_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    """By id, beside those that were."""
    async with served(Letters([BROKEN], [STAYING])) as client:
        await dead_letters(client, typed(as_json=True))
    document = json.loads(capsys.readouterr().out)
    assert document["notification_service_1"] == [letter_id for letter_id in IDS if letter_id not in (BROKEN, STAYING)]
    assert document["not_done"][BROKEN]["reason"] == "BROKER_UNAVAILABLE"
    assert document["not_done"][STAYING]["message"].startswith("the broker did not take it")


async def test_a_service_that_can_do_nothing_is_not_asked_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    """After a few in a row it is the service, not the letters: one sentence."""
    async with served(Letters(IDS, [])) as client:
        assert await dead_letters(client, typed()) == outcome.NOT_REACHABLE
    written = capsys.readouterr()
    assert written.out == ""
    assert len(written.err.splitlines()) == 1


async def test_one_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """And the others are done."""
    nowhere = "f" * 32
    async with served(Letters([], [])) as client:
        assert await dead_letters(client, typed(IDS[0], nowhere)) == outcome.REFUSED
    assert capsys.readouterr().out.splitlines()[0] == "Notification Service 1: replayed 1"
