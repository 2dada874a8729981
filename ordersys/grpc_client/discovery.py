"""The addresses of the services, found by flag, data folder, variable or default."""

import os
from collections.abc import Mapping

from ordersys.console.parser import UsageError
from ordersys.contract import addresses
from ordersys.contract.addresses import Address, Addresses
from ordersys.grpc_client.arguments import quoted
from ordersys.grpc_client.credentials import CA_FILE, Credentials, credentials
from ordersys.grpc_client.peers import PEERS, Peer, Peers, variable
from ordersys.local import state


class NotRunning(UsageError):
    """No system runs with the folder that was named."""


def located(flags: Mapping[str, Address | Addresses | None], data_dir: str | None) -> Peers:
    """Each service at its address: as its flag says, else the flag for the folder, else its variable, else the
    variable for the folder, else the default. Raises UsageError.

    A folder that was named has to have a running system. The variable for it is one of the services, too, for their
    databases: a folder in which no `ordersys.local` ever ran is passed over.
    """
    chosen = _running(data_dir).addresses if data_dir is not None else {}
    folder = os.environ.get(state.DATA_DIR, "") if data_dir is None else ""
    # What a killed system has left there is nobody's trouble where the folder is not needed.
    is_needed = any(not flags[peer.module] and not os.environ.get(variable(peer.module)) for peer in PEERS)
    fallback = _running(folder).addresses if folder and is_needed and state.is_there(folder) else {}
    first, second, third, fourth = (
        Peer(
            peer.name,
            peer.module,
            flags[peer.module]
            or chosen.get(peer.module)
            or address_of(peer.module, fallback.get(peer.module, peer.address)),
        )
        for peer in PEERS
    )
    return first, second, third, fourth


def known_as(data_dir: str | None) -> Credentials:
    """The credentials that the environment names, else those of the operator of the system that `located` finds.

    Raises UsageError.
    """
    folder = data_dir if data_dir is not None else os.environ.get(state.DATA_DIR, "")
    if os.environ.get(CA_FILE) or not folder or (data_dir is None and not state.is_there(folder)):
        return credentials(os.environ)
    given = {name: value for name, value in os.environ.items() if value.strip()}
    return credentials({**_running(folder).operator, **given})


def address_of(module: str, default: Address | Addresses) -> Address | Addresses:
    """The address of a service by the environment; an empty variable is none. Raises UsageError."""
    name = variable(module)
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return addresses.parse_any(text)
    except ValueError as error:
        raise UsageError(f"{name} is {quoted(text)} but must be {error}") from error


def _running(folder: str) -> state.Running:
    try:
        return state.running(folder)
    except state.NotRunning as error:
        raise NotRunning(str(error)) from error
