"""`python -m ordersys.grpc_client`: talks to the system from a command line."""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from ordersys.grpc_client import failures, tables
from ordersys.grpc_client.commands import COMMANDS
from ordersys.grpc_client.connection import Client, Failed, Peer
from ordersys.grpc_client.dead_letters import ACTIONS
from ordersys.grpc_client.demo import demo
from ordersys.grpc_client.story import NotRefused
from ordersys.grpc_client.wishes import WrongUse

_SERVICES = (
    ("Product Service", "product_service", 50051),
    ("Order Service", "order_service", 50052),
    ("Notification Service 1", "notification_service_1", 50053),
    ("Notification Service 2", "notification_service_2", 50054),
)
_STATES = ("placed", "paid", "shipped", "delivered", "cancelled")
_CALL_SECONDS = 10.0
_DEMO_SECONDS = 60.0
_A_DAY = 86_400.0


def main() -> NoReturn:
    """Runs one command; exits 0 when done, 1 when refused, 2 for wrong usage, 3 when a service does not answer."""
    arguments = _parser().parse_args()
    try:
        sys.exit(asyncio.run(_run(arguments)))
    except Failed as failed:
        if arguments.json:
            tables.show_json(failures.as_json(failed))
        else:
            print(failures.sentence(failed), file=sys.stderr)
        sys.exit(failures.exit_status(failed))
    except NotRefused as error:
        print(error, file=sys.stderr)
        sys.exit(failures.REFUSED)
    except WrongUse as error:
        print(f"ordersys.grpc_client: {error}", file=sys.stderr)
        sys.exit(failures.WRONG_USE)
    except KeyboardInterrupt:
        sys.exit(130)


async def _run(arguments: argparse.Namespace) -> int:
    walks = arguments.command == "demo"
    peers = [Peer(name, module, getattr(arguments, module)) for name, module, _ in _SERVICES]
    timeout = arguments.timeout or (_DEMO_SECONDS if walks else _CALL_SECONDS)
    client = Client((peers[0], peers[1], peers[2], peers[3]), timeout, patient=walks)
    try:
        return await (demo if walks else COMMANDS[arguments.command])(client, arguments)
    finally:
        await client.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ordersys.grpc_client",
        description="Lists products and orders, places, changes and cancels orders, shows notifications.",
        epilog="Exit status: 0 done, 1 refused by the system, 2 wrong usage, 3 a service does not answer.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs; errors too")
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="seconds a call may take (10; in the demo 60)")
    for name, module, port in _SERVICES:
        variable = f"ORDERSYS_{module.upper()}_ADDRESS"
        parser.add_argument(
            f"--{module.replace('_', '-')}",
            default=os.environ.get(variable) or f"127.0.0.1:{port}",
            metavar="HOST:PORT",
            help=f"where the {name} listens (default: {variable}, else 127.0.0.1:{port})",
        )
    _add_commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    return parser


def _add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    commands.add_parser("products", help="list all products")
    product = commands.add_parser("product", help="show one product")
    product.add_argument("id", metavar="PRODUCT")
    restock = commands.add_parser("restock", help="add to the stock of a product")
    restock.add_argument("id", metavar="PRODUCT")
    restock.add_argument("quantity", type=_delta, metavar="QUANTITY", help="units to add; negative to take")
    place = commands.add_parser("place", help="place an order")
    place.add_argument("items", nargs="*", metavar="PRODUCT=QUANTITY")
    place.add_argument("--customer", default="walk-in", help="who orders (default: walk-in)")
    place.add_argument("--file", metavar="ORDERS.JSON", help="place an order for each entry of a JSON array")
    _add_reading(commands)
    update = commands.add_parser("update", help="change the items or the state of an order")
    update.add_argument("id", metavar="ORDER")
    update.add_argument("items", nargs="*", metavar="PRODUCT=QUANTITY", help="the items it shall have")
    update.add_argument("--state", choices=_STATES[1:4], help="the state it shall move to")
    cancel = commands.add_parser("cancel", help="cancel an order")
    cancel.add_argument("id", metavar="ORDER")
    for changing in (update, cancel):
        changing.add_argument("--expected-version", type=_version, metavar="N", help="only if it is at this version")
    for changing in (restock, place, update, cancel):
        changing.add_argument("--request-id", metavar="UUID", help="repeat the request that had this id")
    walk = commands.add_parser("demo", help="walk through everything, then reconcile")
    walk.add_argument("--orders", type=_version, default=300, metavar="N", help="size of the burst (300)")


def _add_reading(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    orders = commands.add_parser("orders", help="list orders, the newest first")
    orders.add_argument("--customer", help="only of this customer")
    orders.add_argument("--state", choices=_STATES, help="only in this state")
    order = commands.add_parser("order", help="show one order")
    order.add_argument("id", metavar="ORDER")
    notifications = commands.add_parser("notifications", help="show what the notification services have recorded")
    notifications.add_argument("--service", type=int, choices=(1, 2), help="only of this one")
    notifications.add_argument("--order", metavar="ORDER", help="only of this order")
    letters = commands.add_parser("dead-letters", help="show, replay or discard what a notification service can't take")
    letters.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="what to do (list)")
    letters.add_argument("ids", nargs="*", type=_dead_letter, metavar="ID", help="which to replay or discard")
    letters.add_argument("--all", action="store_true", help="replay or discard all there are now")
    letters.add_argument("--service", type=int, choices=(1, 2), help="only of this one")
    for reading in (orders, notifications, letters):
        reading.add_argument("--limit", type=_version, default=100, metavar="N", help="how many at most (100)")


def _seconds(text: str) -> float:
    return _checked(text, float, lambda value: 0 < value < _A_DAY, "a number of seconds above 0")


def _version(text: str) -> int:
    return int(_checked(text, int, lambda value: 0 < value < 2**63, "a whole number above 0"))


def _dead_letter(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise argparse.ArgumentTypeError(f"{text!r} must be 32 hexadecimal digits, as dead-letters lists them")
    return text


def _delta(text: str) -> int:
    return int(_checked(text, int, lambda value: abs(value) < 2**31, "a whole number"))


def _checked(text: str, kind: Callable[[str], float], fits: Callable[[float], bool], wanted: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} must be {wanted}")
    return value


if __name__ == "__main__":
    main()
