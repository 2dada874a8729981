"""The commands `status` and `wait`: whether each service works, where it is, and its dead letters."""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ordersys.api.notification.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from ordersys.console import output
from ordersys.grpc_client import discovery, outcome, tables
from ordersys.grpc_client.connection import Client, Failed
from ordersys.grpc_client.layout import Column
from ordersys.grpc_client.parser import JSON, TABLE

SERVING = "SERVING"
_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.2
_MOST_COUNTED = 500  # a page; more need not be told apart
_CALL_SECONDS = 3.0


@dataclass(frozen=True)
class ServiceStatus:
    """One service."""

    service: str
    address: str
    health: str
    dead_letters: int | None
    """None for a service that has none by its nature, or can't count them."""
    truncated: bool = False
    """True where there are more dead letters than were counted."""

    @property
    def count(self) -> str:
        """The dead letters as a person reads them."""
        return "" if self.dead_letters is None else f"{self.dead_letters}{'+' if self.truncated else ''}"


async def status(client: Client, arguments: argparse.Namespace) -> int:
    """The status of each service; 3 where one does not work.

    The broker is seen as the services see it: they say NOT_SERVING without it, and no RPC tells the length of a queue.
    """
    client.timeout = arguments.timeout or _CALL_SECONDS
    services = await _statuses(client)
    documents = [{key: value for key, value in asdict(service).items() if key != "truncated"} for service in services]
    if arguments.output == TABLE:
        _show(services)
    elif arguments.output == JSON:
        output.document(documents)
    else:
        for document in documents:
            output.document(document)
    return outcome.DONE if all(service.health == SERVING for service in services) else outcome.NOT_REACHABLE


async def wait(arguments: argparse.Namespace) -> int:
    """Returns 0 once every service says SERVING, 3 after --timeout seconds (60) without that.

    The folder of --data-dir may belong to a system that is still starting: its addresses are looked for until then.
    """
    until = time.monotonic() + (arguments.timeout or _WAIT_SECONDS)
    while True:
        # Each service is called twice: is it the one, and is it well.
        missing = await _missing(arguments, max(_POLL_SECONDS, (until - time.monotonic()) / 2))
        if not missing or time.monotonic() > until:
            break
        await asyncio.sleep(_POLL_SECONDS)
    if arguments.output == JSON:
        output.document({"serving": not missing, "missing": missing})
    elif missing:
        output.error(f"not everything works after {arguments.timeout or _WAIT_SECONDS:g} s: {'; '.join(missing)}")
    return outcome.NOT_REACHABLE if missing else outcome.DONE


async def _missing(arguments: argparse.Namespace, seconds: float) -> Sequence[str]:
    """The services that are not SERVING, each with its state, as far as they say so within some `seconds` a call."""
    try:
        peers = discovery.located(vars(arguments), arguments.data_dir)
        known_as = discovery.known_as(arguments.data_dir)
    except outcome.NotRunning as error:
        return [str(error)]
    client = Client(peers, min(_CALL_SECONDS, seconds), known_as=known_as)
    try:
        health = await client.health()
    finally:
        await client.close()
    return [f"the {peer.name} at {peer.address}: {state}" for peer, state in health.items() if state != SERVING]


async def _statuses(client: Client) -> Sequence[ServiceStatus]:
    health = await client.health()
    services = []
    modules = [peer.module for peer in client.peers]
    for peer, state in health.items():
        number = modules.index(peer.module) - 1
        letters = await _dead_letters(client, number) if number > 0 and state == SERVING else None
        count, truncated = letters or (None, False)
        services.append(ServiceStatus(peer.name, str(peer.address), state, count, truncated))
    return services


async def _dead_letters(client: Client, number: int) -> tuple[int, bool] | None:
    request = ListDeadLettersRequest(page_size=_MOST_COUNTED)
    try:
        page = await client.notification(number, client.letters[number].ListDeadLetters, request)
    except Failed:
        return None
    return len(page.dead_letters), bool(page.next_page_token)


def _show(services: Sequence[ServiceStatus]) -> None:
    columns = (Column("service"), Column("address"), Column("health"), Column("dead letters", right=True))
    tables.show("services", columns, [[s.service, s.address, s.health, s.count] for s in services])
    if any(s.dead_letters for s in services):
        output.line("`dead-letters` shows why, replays and discards them.")
    if any(s.health != SERVING for s in services):
        output.flush()
        output.error("`doctor` says what is wrong, and what to do.")
