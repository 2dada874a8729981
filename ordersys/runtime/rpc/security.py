"""The identity of a service, and whom it believes: certificates between services, tokens of its callers.

Without one a service does not start, unless it is told to be insecure, as on one machine of a developer: everything
goes in clear, everybody there may do everything, and nobody else reaches it.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import grpc

from ordersys.contract.access import service_id, service_name
from ordersys.contract.addresses import Address
from ordersys.runtime.base.settings import PREFIX, InvalidSetting
from ordersys.runtime.rpc.callers import Callers
from ordersys.runtime.settings import Settings

if TYPE_CHECKING:
    from ordersys.runtime.identity.certificates import Certificates
    from ordersys.runtime.identity.key_sets import KeySource
    from ordersys.runtime.identity.tokens import Tokens

_log = logging.getLogger(__name__)
RELOAD_SECONDS = 5.0  # so often the files are looked at: a certificate or a key is renewed days before it ends
_FILES = ("tls_ca_file", "tls_certificate_file", "tls_key_file", "token_keys_file")
_INSECURE = f"{PREFIX}INSECURE"
_WAYS_OUT = (
    "`python -m ordersys.identity init DIR` makes one, and prints the settings; `python -m ordersys.local` starts"
    f" everything with one; {_INSECURE}=true does without, for this machine alone"
)


class Security(NamedTuple):
    """The identity of a process, as its settings name it: nothing where it is insecure."""

    certificates: "Certificates | None" = None
    keys: "KeySource | None" = None
    tokens: "Tokens | None" = None

    @classmethod
    def of(cls, settings: Settings, service: str) -> "Security":
        """The identity of `service`, by its full name in the contract.

        Raises InvalidSetting, also where it has none and is not told to do without; UnusableCertificate.
        """
        ca, certificate, key, token_keys = [getattr(settings, name) for name in _FILES]
        files = (ca, certificate, key, token_keys or settings.token_keys_url)
        names = [f"{PREFIX}{name.upper()}" for name in _FILES]
        given = [name for name, file in zip(names, files, strict=True) if file]
        if settings.insecure:
            listening = f"{service_name(service).replace('-', '_')}_address"
            _check_insecure(given, f"{PREFIX}{listening.upper()}", getattr(settings, listening))
            return cls()
        if not given:
            raise InvalidSetting(f"a service needs an identity ({', '.join(names)}): {_WAYS_OUT}")
        if missing := [name for name in names if name not in given]:
            text = "the files of a service's identity are given all, or none; for the keys a URL will do"
            raise InvalidSetting(f"{' and '.join(missing)} missing: {text}")
        # The libraries behind them take a tenth of a second, which a service without an identity need not spend.
        from ordersys.runtime.identity.certificates import Certificates  # noqa: PLC0415
        from ordersys.runtime.identity.fetched_keys import source  # noqa: PLC0415
        from ordersys.runtime.identity.profile import Profile  # noqa: PLC0415
        from ordersys.runtime.identity.tokens import Tokens  # noqa: PLC0415

        keys = source(settings)
        certificates = Certificates(ca, certificate, key, service_id(service))
        return cls(certificates, keys, Tokens(keys, Profile.of(settings)))

    async def start(self) -> None:
        """Waits for the keys of an issuer that have to be fetched, 10 s at most. To be called before callers are."""
        if self.keys is not None:
            await self.keys.start()

    @property
    def works(self) -> bool:
        """False as long as no token can be verified."""
        return self.keys is None or self.keys.works

    def callers(self) -> Callers:
        """Tells who calls."""
        return Callers(self.tokens)

    def credentials(self, of_services: bool) -> grpc.ServerCredentials | None:
        """Those of a port: `of_services` asks whoever connects for a certificate. None where all goes in clear."""
        return None if self.certificates is None else self.certificates.server_credentials(of_services)

    async def reload(self) -> None:
        """Takes files that have changed; to be called every RELOAD_SECONDS."""
        if self.certificates is not None and self.keys is not None:
            self.certificates.reload()
            self.keys.reload()

    def warn(self) -> None:
        """Says at the start of a service that everybody who reaches it may do everything, where that is so."""
        if self.certificates is None:
            _log.warning("%s: in clear, and everybody on this machine may do everything", _INSECURE)


def _check_insecure(given: Sequence[str], variable: str, address: Address) -> None:
    """Raises InvalidSetting beside an identity, and for an address that other machines reach."""
    if given:
        raise InvalidSetting(f"{_INSECURE} is true beside {' and '.join(given)}; leave out what is not meant")
    if address.is_wildcard or not address.is_loopback:
        raise InvalidSetting(
            f"{variable} is {address}, and {_INSECURE} true, which serves this machine alone; listen at"
            f" 127.0.0.1:{address.port}, or give the service an identity (docs/security.md)"
        )
