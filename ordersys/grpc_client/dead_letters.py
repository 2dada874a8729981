"""The command `dead-letters`: what the notification services could not take, to be read, replayed or discarded."""

import argparse
from collections.abc import Iterator, Mapping, Sequence

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLettersRequest,
    ReplayDeadLettersRequest,
)
from ordersys.grpc_client import failures, listing, tables
from ordersys.grpc_client.connection import Client
from ordersys.grpc_client.identifiers import new_request_id
from ordersys.grpc_client.wishes import WrongUse

ACTIONS = ("list", "replay", "discard")
_AT_ONCE = 500
_HINT = "Try them again with `dead-letters replay ID …`, drop them with `dead-letters discard ID …`; --all takes all."


async def dead_letters(client: Client, arguments: argparse.Namespace) -> int:
    """Lists dead letters, or takes some or all of them out of their queues."""
    services = [arguments.service] if arguments.service else [1, 2]
    if arguments.action == "list":
        if arguments.ids or arguments.all:
            raise WrongUse("say what to do with them: dead-letters replay …, or dead-letters discard …")
        return _show(arguments, {number: await _found(client, number, arguments.limit) for number in services})
    if bool(arguments.ids) == arguments.all:
        raise WrongUse(f"name what to {arguments.action}: ids as `dead-letters` lists them, or --all")
    return _tell(arguments, {number: await _take_out(client, number, arguments) for number in services})


async def _found(client: Client, number: int, limit: int | None = None) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    async for letter in listing.dead_letters(client, number):
        if len(found) == limit:
            break
        found.append(letter)
    return found


async def _take_out(client: Client, number: int, arguments: argparse.Namespace) -> list[str]:
    """Of those that were asked for, which one service has dealt with."""
    ids = arguments.ids or [letter.id for letter in await _found(client, number)]
    done: list[str] = []
    for portion in _portions(list(dict.fromkeys(ids))):
        left = portion
        while left and (gone := await _ACTIONS[arguments.action](client, number, left)):
            done += gone
            left = [one for one in left if one not in gone]
    return done


async def _replay(client: Client, number: int, ids: Sequence[str]) -> Sequence[str]:
    request = ReplayDeadLettersRequest(request_id=new_request_id(), dead_letter_ids=ids)
    response = await client.notification(number, client.letters[number].ReplayDeadLetters, request)
    return response.dead_letter_ids


async def _discard(client: Client, number: int, ids: Sequence[str]) -> Sequence[str]:
    request = DiscardDeadLettersRequest(request_id=new_request_id(), dead_letter_ids=ids)
    response = await client.notification(number, client.letters[number].DiscardDeadLetters, request)
    return response.dead_letter_ids


_ACTIONS = {"replay": _replay, "discard": _discard}


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))


def _show(arguments: argparse.Namespace, found: Mapping[int, Sequence[DeadLetter]]) -> int:
    if arguments.json:
        tables.show_json({_key(n): [tables.to_dict(one) for one in letters] for n, letters in found.items()})
        return failures.DONE
    for number, letters in found.items():
        tables.show_dead_letters(f"Notification Service {number}", letters)
    if any(found.values()):
        tables.say(_HINT)
    return failures.DONE


def _tell(arguments: argparse.Namespace, done: Mapping[int, Sequence[str]]) -> int:
    """The exit status says whether there was everything that was asked for."""
    missing = [one for one in arguments.ids if not any(one in ids for ids in done.values())]
    if arguments.json:
        tables.show_json({**{_key(number): list(ids) for number, ids in done.items()}, "not_found": missing})
    else:
        for number, ids in done.items():
            tables.say(f"Notification Service {number}: {arguments.action}ed {len(ids)}")
        for one in missing:
            tables.say(f"{one} is not there; `dead-letters` lists those that are")
    return failures.REFUSED if missing else failures.DONE


def _key(number: int) -> str:
    return f"notification_service_{number}"
