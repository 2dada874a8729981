"""Finds a system and its sources, for whoever shows it; and the page put together: the server shows what they say."""

import asyncio
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ordersys.console import output
from ordersys.console.interrupts import interrupts
from ordersys.console.parser import UsageError
from ordersys.contract.addresses import Address, Addresses
from ordersys.contract.topology import Subscription, subscriptions
from ordersys.grpc_client import discovery
from ordersys.grpc_client.peers import PEERS, variable
from ordersys.live.board import Board
from ordersys.live.graph import graph
from ordersys.live.ledger import Ledger
from ordersys.live.snapshot import Facts
from ordersys.live.sources import Places, Sources
from ordersys.local import state
from ordersys.local.live_link import KEY, TOKEN, TRACES_KEY, new_key
from ordersys.runtime.base import settings
from ordersys.runtime.rabbitmq.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from ordersys.runtime.rabbitmq.urls import AMQP_URL, BrokerUrls
from ordersys.runtime.settings import Settings

_OF_BROKER = (AMQP_URL, f"{AMQP_URL}_FILE", CA_FILE, CERTIFICATE_FILE, KEY_FILE)


class Look(NamedTuple):
    """A system as it is looked at: its folder, empty where none is known, the sources, and where they show it."""

    folder: str
    board: Board
    sources: Sources


def look(data_dir: str | None) -> Look:
    """The system that is found by `data_dir` or the environment; called in a running event loop.

    Raises UsageError, InvalidSetting.
    """
    folder = data_dir or os.environ.get(state.DATA_DIR) or ""
    board, subscribed = Board(), subscriptions()
    peers = discovery.located({peer.module: None for peer in PEERS}, data_dir)
    known_as = discovery.known_as(data_dir)
    others = _others(subscribed, folder)
    unread = {name for name, address in others.items() if address is None}
    heard = [subscription for subscription in subscribed if subscription.consumer not in unread]
    facts = Facts(graph(), subscribed, Ledger(heard), _command(folder), troubles=dict(map(_unread, sorted(unread))))
    known = {name: address for name, address in others.items() if address is not None}
    places = Places(peers, known_as, _brokers(folder), lambda: _metrics(folder), known)
    return Look(folder, board, Sources(places, facts, board))


async def served(data_dir: str | None, port: int) -> int:
    """Serves the page of the system that is found by `data_dir` or the environment, until a signal; the exit status.

    Prints the link, unless the launcher does, which has chosen its key. Raises UsageError, InvalidSetting, and OSError
    where it can't listen.
    """
    # An extra, which whoever else looks does without.
    from ordersys.live.breaking import Breaking  # noqa: PLC0415
    from ordersys.live.server import Server  # noqa: PLC0415

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    folder, board, sources = look(data_dir)
    given = os.environ.get(KEY, "")
    token = os.environ.get(TOKEN, "")
    breaking = Breaking(Path(folder), token, board) if token and folder else None
    server = Server(board, sources.order, port, given or new_key(), os.environ.get(TRACES_KEY, ""))
    if breaking is not None:
        server.allow(breaking)
    with interrupts.cancelling(lambda: loop.call_soon_threadsafe(task.cancel) if task else None):
        try:
            await server.start()
            if not given:
                output.line(f"live page: {server.link}")
                output.flush()
            await asyncio.gather(sources.run(), *([breaking.run()] if breaking else []))
        except asyncio.CancelledError:
            return 0
        finally:
            await server.stop()
    return 0


def _others(subscribed: Sequence[Subscription], folder: str) -> Mapping[str, Address | Addresses | None]:
    """The subscribers of the contract that are none of the peers: the address of each, None where nobody says it.

    Raises UsageError.
    """
    ours = {peer.module for peer in PEERS}
    running = _running(folder).addresses if state.is_there(folder) else {}
    modules = {each.consumer: each.consumer.replace("-", "_") for each in subscribed}
    names = {name: module for name, module in modules.items() if module not in ours}
    return {name: discovery.named_address(module) or running.get(module) for name, module in names.items()}


def _unread(consumer: str) -> tuple[str, str]:
    """The trouble of a subscriber whose log nobody can find."""
    name = variable(consumer.replace("-", "_"))
    return f"log of {consumer}", f"nobody said where it listens, so that its records are not shown; set {name}"


def _command(folder: str) -> str:
    """The beginning of a command of the client, for the folder as it was given, or found in the environment."""
    return f"ordersys --data-dir {shlex.quote(str(Path(folder).absolute()))}" if folder else "ordersys"


def _brokers(folder: str) -> BrokerUrls | None:
    """The broker of the environment, else of the system that runs with the folder; None where nobody names one.

    Raises InvalidSetting.
    """
    given = {name: value for name in _OF_BROKER if (value := os.environ.get(name, "").strip())}
    if AMQP_URL not in given and f"{AMQP_URL}_FILE" not in given:
        given = {**_running(folder).broker, **given} if state.is_there(folder) else {}
    return settings.read(Settings, given).amqp_url if given else None


def _metrics(folder: str) -> Mapping[str, str]:
    """The addresses of the metrics of the system that runs with the folder; none while none runs."""
    if not state.is_there(folder):
        return {}
    try:
        return {name: str(address) for name, address in _running(folder).metrics.items()}
    except UsageError:
        return {}


def _running(folder: str) -> state.Running:
    try:
        return state.running(folder)
    except state.NotRunning as error:
        raise UsageError(str(error)) from error
