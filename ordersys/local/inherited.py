"""The environment that processes of a system inherit from the shell: without whatever is chosen for each of them."""

from collections.abc import Mapping

from ordersys.identity.layout import CA_FILE
from ordersys.local.choices import INSECURE
from ordersys.local.listening import METRICS

_OF_IDENTITY = (INSECURE, "ORDERSYS_TLS_", "ORDERSYS_TOKEN_", CA_FILE)


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Without identities, which are made here or not at all, and without an address that is for one process."""
    return {name: value for name, value in environment.items() if not name.startswith((*_OF_IDENTITY, METRICS))}
