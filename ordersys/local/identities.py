"""The identities of a private system: made in its folder before the first process, renewed while it runs."""

import time
from collections.abc import Mapping
from pathlib import Path

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.identity.authority import Authority
from ordersys.identity.files import UnusableFile
from ordersys.identity.layout import OPERATOR, Layout
from ordersys.local.choices import CannotStart

CUSTOMERS = ("anna", "ben", "carla")
_RENEW_SECONDS = 600.0  # a token lasts an hour, a certificate a month


class Identities:
    """Certificates for the services, tokens for an operator and three customers, in a folder of the user's alone."""

    def __init__(self, folder: Path) -> None:
        """Makes what is missing. Raises CannotStart."""
        try:
            self._authority = Authority.make(folder)
            self._renewed = self._renew()
        except UnusableFile as error:
            raise CannotStart(f"{error}; or name another folder with --data-dir") from error

    @property
    def layout(self) -> Layout:
        """The places of the files."""
        return self._authority.layout

    def of_service(self, module: str) -> Mapping[str, str]:
        """The settings of a service, by its module."""
        return self.layout.service_environment(module.replace("_", "-"))

    @property
    def of_operator(self) -> Mapping[str, str]:
        """The settings of a client that may do whatever an operator may."""
        return self.layout.client_environment(OPERATOR)

    @property
    def is_due(self) -> bool:
        """True where it is time to see what comes to its end: also by the clock, which goes on as a machine sleeps."""
        counted, clock = self._renewed
        return time.monotonic() >= counted + _RENEW_SECONDS or abs(time.time() - clock) >= _RENEW_SECONDS

    def keep(self) -> str:
        """Renews what comes to its end; to be called when it is due. The reason where that fails, else empty."""
        try:
            self._renewed = self._renew()
        except (UnusableFile, OSError) as error:
            self._renewed = _now()  # and again then: what there is lasts longer than that
            return f"the identities can't be renewed: {error}"
        return ""

    def _renew(self) -> tuple[float, float]:
        """Returns when, as `_now` does."""
        self._authority.renew()
        self._authority.write_token(OPERATOR, [Role.ROLE_OPERATOR])
        for customer in CUSTOMERS:
            self._authority.write_token(customer, [Role.ROLE_CUSTOMER])
        return _now()


def _now() -> tuple[float, float]:
    """The time as this process counts it, and by the clock, in seconds."""
    return time.monotonic(), time.time()
