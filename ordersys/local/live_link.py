"""The link to the live page: whoever has it may look. The launcher, or else the page, chooses the key in it."""

import secrets

from ordersys.contract.addresses import Address

KEY = "ORDERSYS_LIVE_KEY"
"""The variable by which a launcher chooses the key and prints the link itself: everybody sees command lines."""
TOKEN = "ORDERSYS_LIVE_TOKEN"  # noqa: S105 - the name of a variable
"""The variable by which a launcher chooses the token of those who may break its system; empty where nobody may."""
TRACES_KEY = "ORDERSYS_LIVE_TRACES_KEY"
"""The variable by which it chooses the key for programs: by that spans are sent, and waterfalls read, no more."""
TRACES_KEY_FILE = "live-traces.key"
"""The file in the folder of the system that has the key for programs, for its user alone."""


def new_key() -> str:
    """A key that nobody can guess."""
    return secrets.token_urlsafe(24)


def link(address: Address, key: str, token: str = "") -> str:
    """The address for a browser. What stands behind `#` is sent to no server. With a token it may do more than look."""
    return f"http://{address}/#key={key}{f'&token={token}' if token else ''}"
