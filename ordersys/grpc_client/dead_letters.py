"""The command `dead-letters`: what the notification services could not take, to be read, replayed or discarded."""

import argparse
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLettersRequest,
    ReplayDeadLettersRequest,
)
from ordersys.console import output
from ordersys.console.parser import UsageError
from ordersys.grpc_client import as_json, errors, listing, tables
from ordersys.grpc_client.connection import Client, Failed, each
from ordersys.grpc_client.identifiers import new_request_id
from ordersys.grpc_client.listing import MOST_LISTED

ACTIONS = ("list", "replay", "discard")
_AT_ONCE = 500
# How many in a row may fail one by one before the service, not the letters, is to blame.
_MOST_FAILURES = 3
_HINT = "Try them again with `dead-letters replay ID …`, drop them with `dead-letters discard ID …`; --all takes all."
_STILL_THERE = "the broker did not take it, and it is a dead letter still; the log of the service says why"
_Act = Callable[[Client, int, Sequence[str]], Awaitable[Sequence[str]]]


@dataclass
class _Taken:
    """What one service has done with what was asked for."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, Failed] = field(default_factory=dict)
    """Those of which it said that it can't, by id."""
    left: list[str] = field(default_factory=list)
    """Those that are there still, although it did not fail: the broker did not take them."""

    @property
    def status(self) -> int:
        """The exit status it comes to."""
        return max([*map(errors.exit_status, self.failed.values()), errors.REFUSED if self.left else errors.DONE])


async def dead_letters(client: Client, arguments: argparse.Namespace) -> int:
    """Lists dead letters, or has some or all of them replayed or discarded."""
    services = [arguments.service] if arguments.service else [1, 2]
    if arguments.action == "list":
        if arguments.ids or arguments.all:
            raise UsageError("say what to do with them: dead-letters replay …, or dead-letters discard …")
        limit = arguments.limit or MOST_LISTED
        return _show(arguments, await each(services, lambda number: _found(client, number, limit)))
    if arguments.limit is not None:
        raise UsageError(f"--limit is for listing; name what to {arguments.action} by its ids")
    if bool(arguments.ids) == arguments.all:
        raise UsageError(f"name what to {arguments.action}: ids as `dead-letters` lists them, or --all")
    return _tell(arguments, await each(services, lambda number: _take_out(client, number, arguments)))


async def _found(client: Client, number: int, limit: int | None = None) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    async for letter in listing.dead_letters(client, number):
        if len(found) == limit:
            break
        found.append(letter)
    return found


async def _take_out(client: Client, number: int, arguments: argparse.Namespace) -> _Taken:
    """Goes on behind what the service can't do something with. Raises Failed when it does nothing at all."""
    taken = _Taken()
    ids = arguments.ids or [letter.id for letter in await _found(client, number)]
    act = _ACTIONS[arguments.action]
    for portion in _portions(list(dict.fromkeys(ids))):
        try:
            await _portion(client, number, act, portion, taken)
        except Failed:
            await _one_by_one(client, number, act, [one for one in portion if one not in taken.done], taken)
    if missed := set(ids).difference(taken.done, taken.failed):
        taken.left = [letter.id for letter in await _found(client, number) if letter.id in missed]
    return taken


async def _portion(client: Client, number: int, act: _Act, ids: Sequence[str], taken: _Taken) -> None:
    """A call takes as many as it can hold, and says which."""
    left = ids
    while left and (gone := await act(client, number, left)):
        taken.done += gone
        left = [one for one in left if one not in gone]


async def _one_by_one(client: Client, number: int, act: _Act, ids: Sequence[str], taken: _Taken) -> None:
    """Finds out which of them it was that the service failed over."""
    in_a_row = 0
    for one in ids:
        try:
            await _portion(client, number, act, [one], taken)
            in_a_row = 0
        except Failed as failed:
            taken.failed[one] = failed
            in_a_row += 1
            if in_a_row == min(_MOST_FAILURES, len(ids)) and not taken.done:
                raise


async def _replay(client: Client, number: int, ids: Sequence[str]) -> Sequence[str]:
    request = ReplayDeadLettersRequest(request_id=new_request_id(), dead_letter_ids=ids)
    response = await client.notification(number, client.letters[number].ReplayDeadLetters, request)
    return response.dead_letter_ids


async def _discard(client: Client, number: int, ids: Sequence[str]) -> Sequence[str]:
    request = DiscardDeadLettersRequest(request_id=new_request_id(), dead_letter_ids=ids)
    response = await client.notification(number, client.letters[number].DiscardDeadLetters, request)
    return response.dead_letter_ids


_ACTIONS: Mapping[str, _Act] = {"replay": _replay, "discard": _discard}


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))


def _show(arguments: argparse.Namespace, found: Mapping[int, Sequence[DeadLetter] | Failed]) -> int:
    status = max(errors.exit_status(one) if isinstance(one, Failed) else errors.DONE for one in found.values())
    if arguments.json:
        as_json.show({_key(number): _listed(letters) for number, letters in found.items()})
        return status
    for number, letters in found.items():
        if isinstance(letters, Failed):
            output.error(errors.sentence(letters))
        else:
            tables.show_dead_letters(f"Notification Service {number}", letters)
    if any(letters and not isinstance(letters, Failed) for letters in found.values()):
        output.line(_HINT)
    return status


def _listed(letters: Sequence[DeadLetter] | Failed) -> object:
    return errors.to_dict(letters) if isinstance(letters, Failed) else [as_json.to_dict(one) for one in letters]


def _tell(arguments: argparse.Namespace, taken: Mapping[int, _Taken | Failed]) -> int:
    """The exit status says whether there was everything that was asked for."""
    silent = {number: one for number, one in taken.items() if isinstance(one, Failed)}
    answered = {number: one for number, one in taken.items() if isinstance(one, _Taken)}
    known = {one for service in answered.values() for one in (*service.done, *service.failed, *service.left)}
    missing = [one for one in arguments.ids if one not in known]
    if arguments.json:
        as_json.show(
            {
                **{_key(number): service.done for number, service in answered.items()},
                **{_key(number): errors.to_dict(failed) for number, failed in silent.items()},
                "not_found": missing,
                **_not_done(answered),
            }
        )
    else:
        for line in _lines(arguments.action, answered):
            output.line(line)
        for failed in silent.values():
            output.error(errors.sentence(failed))
        for one in missing:
            where = " as far as was answered" if silent else ""
            output.line(f"{one} is not there{where}; `dead-letters` lists those that are")
    statuses = [errors.exit_status(one) for one in silent.values()] + [one.status for one in answered.values()]
    return max([*statuses, errors.REFUSED if missing else errors.DONE])


def _lines(action: str, answered: Mapping[int, _Taken]) -> Iterator[str]:
    for number, service in answered.items():
        yield f"Notification Service {number}: {action}ed {len(service.done)}"
        for one, failed in service.failed.items():
            yield f"{one} can't be {action}ed: {errors.sentence(failed)}"
        for one in service.left:
            yield f"{one} was not {action}ed: {_STILL_THERE}"


def _not_done(answered: Mapping[int, _Taken]) -> dict[str, object]:
    """Absent where there is nothing to say."""
    found: dict[str, object] = {}
    for service in answered.values():
        found |= {one: errors.to_dict(failed)["error"] for one, failed in service.failed.items()}
        found |= {one: {"message": _STILL_THERE} for one in service.left}
    return {"not_done": found} if found else {}


def _key(number: int) -> str:
    return f"notification_service_{number}"
