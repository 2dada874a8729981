"""The command line: reads what is typed, runs one command, and ends with its exit status."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import NoReturn

from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest, UpdateOrderRequest
from ordersys.console import output
from ordersys.console.interrupts import interrupts
from ordersys.console.parser import Parser, UsageError
from ordersys.grpc_client import arguments as typed
from ordersys.grpc_client import as_json, errors
from ordersys.grpc_client.commands import COMMANDS, WALK_IN
from ordersys.grpc_client.connection import Client, Failed, Peer
from ordersys.grpc_client.dead_letters import ACTIONS
from ordersys.grpc_client.demo.run import demo
from ordersys.grpc_client.demo.scenario import NotRefused

_PROGRAM = "python -m ordersys.grpc_client"
_SERVICES = (
    ("Product Service", "product_service", 50051),
    ("Order Service", "order_service", 50052),
    ("Notification Service 1", "notification_service_1", 50053),
    ("Notification Service 2", "notification_service_2", 50054),
)
_STATES = ("placed", "paid", "shipped", "delivered", "cancelled")
_CALL_SECONDS = 10.0
_DEMO_SECONDS = 60.0
_FILE_HELP = """\
The entries of ORDERS.JSON are requests as in {"customer_id": "anna", "items": [{"product_id": "oak-desk", "quantity":
1}]}; whatever else they have is passed over. The file may be placed again at any time, after Ctrl-C or without an
answer: the request ids follow from what stands in it (customers, products, quantities; equal entries are counted), so
that a repeat places nothing twice as long as the service remembers request ids, 24 hours at least. An entry may bring
a request_id of its own. A file with other orders in it is another file, and placed wholly; to add to a file, or to
place the same one once more, name the --batch it belongs to: an entry is placed once in each batch."""


class _Stopped(Exception):
    """A signal ended the command; the text says what has to be known about it."""


def main() -> NoReturn:
    """Runs one command and exits as `errors.EXIT_STATUSES` says. To be called behind `output.prepare`."""
    words = sys.argv[1:]
    for_program = "--json" in words[: words.index("--") if "--" in words else None]
    output.finish(_PROGRAM, lambda: _run(words, for_program))


def _run(words: Sequence[str], for_program: bool) -> int:
    try:
        return _command(words)
    except Failed as failed:
        return _say(for_program, errors.to_dict(failed), errors.sentence(failed), errors.exit_status(failed))
    except NotRefused as error:
        return _say(for_program, errors.error("INTERNAL", "NOT_REFUSED", str(error)), str(error), errors.REFUSED)
    except UsageError as error:
        told = errors.error("INVALID_ARGUMENT", "WRONG_USAGE", str(error))
        return _say(for_program, told, f"{_PROGRAM}: {error}", errors.WRONG_USE)
    except _Stopped as stopped:
        told = errors.error("CANCELLED", "INTERRUPTED", str(stopped))
        return _say(for_program, told, str(stopped), interrupts.exit_status)


def _say(for_program: bool, error: dict[str, object], text: str, status: int) -> int:
    """Programs read the error where they would read the answer."""
    if for_program:
        as_json.show(error)
    else:
        output.flush()
        output.error(text)
    return status


def _command(words: Sequence[str]) -> int:
    arguments = _parser().parse_args(typed.decoded(words))
    peers = [_peer(arguments, name, module, port) for name, module, port in _SERVICES]
    return asyncio.run(_answered(arguments, (peers[0], peers[1], peers[2], peers[3])))


async def _answered(arguments: argparse.Namespace, peers: tuple[Peer, Peer, Peer, Peer]) -> int:
    walks = arguments.command == "demo"
    timeout = arguments.timeout or (_DEMO_SECONDS if walks else _CALL_SECONDS)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    with interrupts.cancelling(lambda: loop.call_soon_threadsafe(task.cancel) if task else None):
        client = Client(peers, timeout, patient=walks)
        try:
            return await (demo if walks else COMMANDS[arguments.command])(client, arguments)
        except asyncio.CancelledError as error:
            raise _Stopped(errors.interrupted(client.cut_off)) from error
        except BaseExceptionGroup as group:  # of the tasks of a command
            raise _first(group) from group
        finally:
            await client.close()


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _peer(arguments: argparse.Namespace, name: str, module: str, port: int) -> Peer:
    return Peer(name, module, vars(arguments)[module] or typed.address_of(_variable(module), port))


def _variable(module: str) -> str:
    return f"ORDERSYS_{module.upper()}_ADDRESS"


def _parser() -> Parser:
    statuses = ", ".join(f"{status} {meaning}" for status, meaning in errors.EXIT_STATUSES.items())
    parser = Parser(
        prog=_PROGRAM,
        description="Lists products and orders, places, changes and cancels orders, shows notifications.",
        epilog=f"Exit status: {statuses}.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs; errors too")
    parser.add_argument(
        "--timeout", type=typed.seconds, metavar="S", help="seconds a call may take (10; in the demo 60)"
    )
    for name, module, port in _SERVICES:
        parser.add_argument(
            f"--{module.replace('_', '-')}",
            type=typed.address,
            metavar="HOST:PORT",
            help=f"where the {name} listens (default: {_variable(module)}, else 127.0.0.1:{port})",
        )
    _add_commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    return parser


def _add_commands(commands: "argparse._SubParsersAction[Parser]") -> None:
    commands.add_parser("products", help="list all products")
    product = commands.add_parser("product", help="show one product")
    product.add_argument("id", metavar="PRODUCT")
    restock = commands.add_parser("restock", help="add to the stock of a product")
    restock.add_argument("id", metavar="PRODUCT")
    delta = typed.within(AdjustStockRequest.DESCRIPTOR.fields_by_name["delta"])
    restock.add_argument("quantity", type=delta, metavar="QUANTITY", help="units to add; negative to take")
    place = commands.add_parser("place", help="place an order, or those of a file", epilog=_FILE_HELP)
    place.add_argument("items", nargs="*", metavar="PRODUCT=QUANTITY")
    place.add_argument("--customer", help=f"who orders (default: {WALK_IN})")
    place.add_argument(
        "--file", type=typed.some, metavar="ORDERS.JSON", help="place an order for each entry of a JSON array"
    )
    place.add_argument(
        "--batch", type=typed.some, metavar="NAME", help="with --file: place what was not yet placed under this name"
    )
    _add_reading(commands)
    update = commands.add_parser("update", help="change the items or the state of an order")
    update.add_argument("id", metavar="ORDER")
    update.add_argument("items", nargs="*", metavar="PRODUCT=QUANTITY", help="the items it shall have")
    update.add_argument("--state", choices=_STATES[1:4], help="the state it shall move to")
    cancel = commands.add_parser("cancel", help="cancel an order")
    cancel.add_argument("id", metavar="ORDER")
    version = typed.within(UpdateOrderRequest.DESCRIPTOR.fields_by_name["expected_version"])
    for changing in (update, cancel):
        changing.add_argument("--expected-version", type=version, metavar="N", help="only if it is at this version")
    for changing in (restock, place, update, cancel):
        changing.add_argument(
            "--request-id", type=typed.request_id, metavar="UUID", help="repeat the request that had this id"
        )
    walk = commands.add_parser("demo", help="walk through everything, then reconcile")
    burst = typed.between(1, typed.MOST_ORDERS)
    walk.add_argument("--orders", type=burst, default=300, metavar="N", help="size of the burst (300)")


def _add_reading(commands: "argparse._SubParsersAction[Parser]") -> None:
    orders = commands.add_parser("orders", help="list orders, the newest first")
    orders.add_argument("--customer", type=typed.some, help="only of this customer")
    orders.add_argument("--state", choices=_STATES, help="only in this state")
    order = commands.add_parser("order", help="show one order")
    order.add_argument("id", metavar="ORDER")
    notifications = commands.add_parser("notifications", help="show what the notification services have recorded")
    notifications.add_argument("--service", type=int, choices=(1, 2), help="only of this one")
    notifications.add_argument("--order", type=typed.some, metavar="ORDER", help="only of this order")
    letters = commands.add_parser("dead-letters", help="show, replay or discard what a notification service can't take")
    letters.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="what to do (list)")
    letters.add_argument("ids", nargs="*", type=typed.dead_letter, metavar="ID", help="which to replay or discard")
    letters.add_argument("--all", action="store_true", help="replay or discard all there are now")
    letters.add_argument("--service", type=int, choices=(1, 2), help="only of this one")
    limit = typed.between(1, typed.MOST)
    for reading in (orders, notifications, letters):
        reading.add_argument("--limit", type=limit, metavar="N", help="how many at most (100)")
