"""The addresses of the services, found by flag, data folder, variable or default."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from ordersys.console import output
from ordersys.console.parser import UsageError
from ordersys.contract import addresses
from ordersys.contract.addresses import Address, Addresses
from ordersys.grpc_client.arguments import quoted
from ordersys.grpc_client.credentials import CA_FILE, Credentials, credentials
from ordersys.grpc_client.outcome import NotRunning
from ordersys.grpc_client.peers import PEERS, Peer, Peers, variable
from ordersys.local import state


def located(flags: Mapping[str, Address | Addresses | None], data_dir: str | None) -> Peers:
    """Each service at its address: as its flag says, else the flag for the folder, else its variable, else the
    variable for the folder, else the default. Raises UsageError, NotRunning among them.

    A folder that was named has to have a running system: whoever else listens at the default addresses would be told,
    in clear, what was meant for that. The variable for it is one of the services, too, for their databases: a folder in
    which no `ordersys.local` ever ran is passed over.
    """
    chosen = _running(data_dir).addresses if data_dir is not None else {}
    folder = os.environ.get(state.DATA_DIR, "") if data_dir is None else ""
    # What a killed system has left there is nobody's trouble where the folder is not needed.
    is_needed = any(not flags[peer.module] and not os.environ.get(variable(peer.module)) for peer in PEERS)
    fallback = _running(folder).addresses if folder and is_needed and _is_meant(folder) else {}
    if data_dir is None and not folder and not _is_told(flags):
        _check_nobody_is_near()
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


def _is_told(flags: Mapping[str, Address | Addresses | None]) -> bool:
    """True where anything says whom to call, or whom to trust, or that nobody is to be known."""
    variables = (CA_FILE, *(variable(peer.module) for peer in PEERS))
    is_named = any(flags[peer.module] for peer in PEERS) or any(os.environ.get(name) for name in variables)
    return is_named or not state.secure_by_default()


def _check_nobody_is_near() -> None:
    """Raises UsageError where a system with identities lies in the current folder, or in a folder of it.

    That one is probably meant, and whoever listens at the usual ports would be told in clear what was meant for it.
    """
    for folder in (Path(), *sorted(Path().glob("*/"))):
        if _is_secured(folder):
            named = output.shown(str(folder))
            raise UsageError(
                f"nothing says whom to call, and the system of {named!r} has identities: name it with --data-dir"
                f" {shlex.quote(named)}; or {state.INSECURE}=true for one at the usual ports, in clear"
            )


def _is_secured(folder: Path) -> bool:
    """True for a folder of this user's with identities, unless a system without any runs with it."""
    try:
        is_own = (folder / "identity" / "ca.pem").stat().st_uid == os.geteuid()
    except OSError:
        return False
    if not is_own or not state.was_used(str(folder)):
        return False
    try:
        return bool(state.running(str(folder)).operator)
    except state.NotRunning:
        return True


def _is_meant(folder: str) -> bool:
    """True where somebody means the system of this folder, be it running, stopped, or about to start."""
    if os.environ.get(CA_FILE):  # whoever answers at the default addresses has to show a certificate
        return state.is_there(folder)
    return state.was_used(folder) or not os.path.lexists(folder)


def known_as(data_dir: str | None) -> Credentials:
    """The credentials that the environment names, else those of the operator of the system that `located` finds.

    Raises UsageError.
    """
    folder = data_dir if data_dir is not None else os.environ.get(state.DATA_DIR, "")
    if os.environ.get(CA_FILE) or not folder or (data_dir is None and not state.is_there(folder)):
        return credentials(os.environ)
    given = {name: value for name, value in os.environ.items() if value.strip()}
    return credentials({**_running(folder).operator, **given})


def live_page(data_dir: str | None) -> Mapping[str, str]:
    """The `address` and the `key_file` of the live page of the system that is found; empty where it has none.

    Raises UsageError, NotRunning among them.
    """
    folder = data_dir if data_dir is not None else os.environ.get(state.DATA_DIR, "")
    if not folder:
        raise UsageError("name the folder of the running system with --data-dir: its live page holds the traces")
    return _running(folder).live


def private_broker(data_dir: str | None) -> Mapping[str, str]:
    """The settings of the private broker of the system that is found; empty where there is none of either."""
    folder = data_dir if data_dir is not None else os.environ.get(state.DATA_DIR, "")
    try:
        return state.running(folder).broker if folder else {}
    except state.NotRunning:
        return {}


def address_of(module: str, default: Address | Addresses) -> Address | Addresses:
    """The address of a service by the environment, else `default`. Raises UsageError."""
    return named_address(module) or default


def named_address(module: str) -> Address | Addresses | None:
    """The address of a service by the environment; an empty variable is none. Raises UsageError."""
    name = variable(module)
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return addresses.parse_any(text)
    except ValueError as error:
        raise UsageError(f"{name} is {quoted(text)} but must be {error}") from error


def _running(folder: str) -> state.Running:
    try:
        return state.running(folder)
    except state.NotRunning as error:
        raise NotRunning(str(error)) from error
