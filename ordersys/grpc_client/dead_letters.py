"""The command `dead-letters`: lists, replays and discards the dead letters of the notification services."""

import argparse
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLettersRequest,
    ReplayDeadLettersRequest,
)
from ordersys.console import output
from ordersys.console.parser import UsageError
from ordersys.grpc_client import as_json, errors, listing, outcome, printing, tables
from ordersys.grpc_client.connection import Client, Failed, each, new_request_id
from ordersys.grpc_client.parser import ID, JSON, JSONL, LISTED, TABLE

_AT_ONCE = 500
# How many in a row may fail one by one before the service, not the letters, is to blame.
_MOST_FAILURES = 3
_HINT = "Try them again with `dead-letters replay ID …`, drop them with `dead-letters discard ID …`; --all takes all."
_STILL_THERE = "the broker did not take it, and it is a dead letter still; the log of the service says why"
_Act = Callable[[Client, int, Sequence[str]], Awaitable[Sequence[str]]]


@dataclass
class _Result:
    """The effect that a command had at one service."""

    done: list[str] = field(default_factory=list)
    messages: int = 0
    """How many messages these were, where they were listed before: equal ones have one id."""
    failed: dict[str, Failed] = field(default_factory=dict)
    """Those that it could not do anything with, by id."""
    left: list[str] = field(default_factory=list)
    """Those that are dead letters still, although it did not fail: the broker did not take them."""

    @property
    def status(self) -> int:
        """The exit status it comes to."""
        return max([*map(errors.exit_status, self.failed.values()), outcome.REFUSED if self.left else outcome.DONE])


async def dead_letters(client: Client, arguments: argparse.Namespace) -> int:
    """Lists dead letters, or has some or all of them replayed or discarded."""
    services = [arguments.service] if arguments.service else [1, 2]
    if arguments.action == "list":
        if arguments.ids or arguments.all:
            raise UsageError("name the action: dead-letters replay …, or dead-letters discard …")
        limit = arguments.limit or LISTED
        # One more than is shown tells whether there are more.
        return _show(arguments, limit, await each(services, lambda number: _listed(client, number, limit + 1)))
    if arguments.limit is not None:
        raise UsageError(f"--limit is for listing; name what to {arguments.action} by its ids")
    if bool(arguments.ids) == arguments.all:
        raise UsageError(f"name what to {arguments.action}: ids as `dead-letters` lists them, or --all")
    return _report(arguments, await each(services, lambda number: _act_on(client, number, arguments)))


async def _listed(client: Client, number: int, limit: int | None = None) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    async for letter in listing.dead_letters(client, number):
        letters.append(letter)
        if len(letters) == limit:
            break
    return letters


async def _act_on(client: Client, number: int, arguments: argparse.Namespace) -> _Result:
    """Goes on behind what the service can't do anything with. Raises Failed when it does nothing at all."""
    result = _Result()
    listed = [] if arguments.ids else [letter.id for letter in await _listed(client, number)]
    ids = arguments.ids or listed
    act = _ACTIONS[arguments.action]
    for portion in _portions(list(dict.fromkeys(ids))):
        try:
            await _portion(client, number, act, portion, result)
        except Failed:
            await _one_by_one(client, number, act, [id_ for id_ in portion if id_ not in result.done], result)
    result.messages = sum(map(Counter(listed).__getitem__, result.done))
    if missed := set(ids).difference(result.done, result.failed):
        result.left = [letter.id for letter in await _listed(client, number) if letter.id in missed]
    return result


async def _portion(client: Client, number: int, act: _Act, ids: Sequence[str], result: _Result) -> None:
    """A call does as many as it can hold, and says which."""
    left = ids
    while left and (done := await act(client, number, left)):
        result.done += done
        left = [id_ for id_ in left if id_ not in done]


async def _one_by_one(client: Client, number: int, act: _Act, ids: Sequence[str], result: _Result) -> None:
    """Finds out which of them it was that the service failed over."""
    in_a_row = 0
    for id_ in ids:
        try:
            await _portion(client, number, act, [id_], result)
            in_a_row = 0
        except Failed as failed:
            result.failed[id_] = failed
            in_a_row += 1
            if in_a_row == min(_MOST_FAILURES, len(ids)) and not result.done:
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


def _show(arguments: argparse.Namespace, limit: int, answers: Mapping[int, Sequence[DeadLetter] | Failed]) -> int:
    if arguments.output == JSON:
        output.document({_key(number): _document(answer, limit) for number, answer in answers.items()})
    for number, answer in answers.items():
        name = f"Notification Service {number}"
        if isinstance(answer, Failed):
            _show_failure(arguments, answer)
            continue
        if arguments.output == TABLE:
            tables.show_dead_letters(name, answer[:limit])
        elif arguments.output != JSON:
            printing.lines(arguments, answer[:limit], number)
        if len(answer) > limit:
            printing.more(arguments, f"further ones at {name}")
    if arguments.output == TABLE and any(answer and not isinstance(answer, Failed) for answer in answers.values()):
        output.line(_HINT)
    return max(errors.exit_status(a) if isinstance(a, Failed) else outcome.DONE for a in answers.values())


def _show_failure(arguments: argparse.Namespace, failed: Failed) -> None:
    if arguments.output == JSONL:
        output.document(errors.to_dict(failed))
    elif arguments.output != JSON:
        output.error(errors.sentence(failed))


def _document(answer: Sequence[DeadLetter] | Failed, limit: int) -> object:
    if isinstance(answer, Failed):
        return errors.to_dict(answer)
    return [as_json.to_dict(letter) for letter in answer[:limit]]


def _report(arguments: argparse.Namespace, results: Mapping[int, _Result | Failed]) -> int:
    """Shows the effect; the exit status says whether everything that was asked for was done."""
    silent = {number: result for number, result in results.items() if isinstance(result, Failed)}
    answered = {number: result for number, result in results.items() if isinstance(result, _Result)}
    known = {id_ for result in answered.values() for id_ in (*result.done, *result.failed, *result.left)}
    missing = [id_ for id_ in arguments.ids if id_ not in known]
    if printing.is_for_program(arguments):
        output.document(_report_document(answered, silent, missing))
    else:
        _report_text(arguments, answered, silent, missing)
    statuses = [*map(errors.exit_status, silent.values()), *(result.status for result in answered.values())]
    return max([*statuses, outcome.REFUSED if missing else outcome.DONE])


def _report_document(
    answered: Mapping[int, _Result], silent: Mapping[int, Failed], missing: Sequence[str]
) -> dict[str, object]:
    return {
        **{_key(number): result.done for number, result in answered.items()},
        **{_key(number): errors.to_dict(failed) for number, failed in silent.items()},
        "not_found": missing,
        **_not_done(answered),
    }


def _report_text(
    arguments: argparse.Namespace,
    answered: Mapping[int, _Result],
    silent: Mapping[int, Failed],
    missing: Sequence[str],
) -> None:
    """As text; with `-o id` the ids of those that were done, and all else on standard error."""
    ids = arguments.output == ID
    for result in answered.values() if ids else ():
        for id_ in result.done:
            output.line(id_)
    output.flush()
    where = " as far as was answered" if silent else ""
    for line in _lines(arguments.action, answered):
        (output.error if ids else output.line)(line)
    for failed in silent.values():
        output.error(errors.sentence(failed))
    for id_ in missing:
        (output.error if ids else output.line)(f"{id_} is not there{where}; `dead-letters` lists those that are")


def _lines(action: str, answered: Mapping[int, _Result]) -> Iterator[str]:
    for number, result in answered.items():
        copies = f" ({result.messages} messages)" if result.messages > len(result.done) else ""
        yield f"Notification Service {number}: {action}ed {len(result.done)}{copies}"
        for id_, failed in result.failed.items():
            yield f"{id_} can't be {action}ed: {errors.sentence(failed)}"
        for id_ in result.left:
            yield f"{id_} was not {action}ed: {_STILL_THERE}"


def _not_done(answered: Mapping[int, _Result]) -> dict[str, object]:
    """Absent where there is nothing to say."""
    reasons: dict[str, object] = {}
    for result in answered.values():
        reasons |= {id_: errors.to_dict(failed)["error"] for id_, failed in result.failed.items()}
        reasons |= {id_: {"message": _STILL_THERE} for id_ in result.left}
    return {"not_done": reasons} if reasons else {}


def _key(number: int) -> str:
    return f"notification_service_{number}"
