"""One command at work: the services are found, the command asks them, errors become sentences and exit statuses."""

import argparse
import asyncio

from ordersys.console.interrupts import interrupts
from ordersys.console.parser import nearest
from ordersys.grpc_client import discovery, errors, listing, outcome
from ordersys.grpc_client.commands import COMMANDS
from ordersys.grpc_client.connection import Client, Failed
from ordersys.grpc_client.demo.scenario import NotRejected
from ordersys.grpc_client.status import wait

_CALL_SECONDS = 10.0
_PATIENT_SECONDS = 60.0
_PATIENT = ("demo",)
"""Commands that also wait for services that do not answer at all."""
_INTERRUPTED = "Interrupted."


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; its exit status. Raises UsageError, Stopped."""
    if arguments.command == "wait":
        return asyncio.run(wait(arguments))  # a signal ends it at once: nothing is under way
    try:
        return asyncio.run(_cancelled_by_signals(arguments))
    except Failed as failed:
        return outcome.say(
            arguments.output, errors.to_dict(failed), errors.sentence(failed), errors.exit_status(failed)
        )
    except NotRejected as error:
        report = outcome.error("INTERNAL", "NOT_REFUSED", str(error))
        return outcome.say(arguments.output, report, str(error), outcome.REFUSED)


async def _cancelled_by_signals(arguments: argparse.Namespace) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    with interrupts.cancelling(lambda: loop.call_soon_threadsafe(task.cancel) if task else None):
        try:
            return await _answered(arguments)
        except asyncio.CancelledError as error:
            raise outcome.Stopped(_INTERRUPTED) from error


async def _answered(arguments: argparse.Namespace) -> int:
    patient = arguments.command in _PATIENT
    peers = discovery.located(vars(arguments), arguments.data_dir)
    known_as = discovery.known_as(arguments.data_dir)
    client = Client(peers, arguments.timeout or (_PATIENT_SECONDS if patient else _CALL_SECONDS), patient, known_as)
    try:
        return await COMMANDS[arguments.command](client, arguments)
    except asyncio.CancelledError as error:
        is_meant = arguments.command == "events" and arguments.follow
        raise outcome.Stopped("" if is_meant else errors.interrupted(client.cut_off)) from error
    except Failed as failed:
        failed.hint = await _hint(client, failed)
        raise
    except BaseExceptionGroup as group:  # of the tasks of a command
        raise _first(group) from group
    finally:
        await client.close()


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _hint(client: Client, failed: Failed) -> str:
    """The product that was probably meant where there is none of this id; empty for everything else."""
    info = errors.error_info(failed.status)
    if info.reason != "PRODUCT_NOT_FOUND":
        return ""
    try:
        near = nearest(info.metadata["product_id"], [product.id async for product in listing.products(client)])
    except Failed:
        return ""  # there is an error to be told already
    return f" Did you mean {near}?" if near else ""
