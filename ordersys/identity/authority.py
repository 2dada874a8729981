"""The authority of a system: keeps a folder of certificates and tokens whole, and renews what comes to its end."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias, TypeVar

from cryptography import x509

from ordersys.console.secret_files import IGNORED
from ordersys.contract.access import RoleNumber
from ordersys.identity import files, issuing, minting
from ordersys.identity.files import PUBLIC, SECRET, UnusableFile
from ordersys.identity.issuing import Key, Pair
from ordersys.identity.layout import Layout

_Parsed = TypeVar("_Parsed")
Clock: TypeAlias = Callable[[], datetime]
PROGRAM = "python -m ordersys.identity"


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


class Authority:
    """A folder with an authority, an issuer of tokens, and what they have made.

    Each method reads the files anew: another process may have changed them. Those that write hold the lock of the
    folder, and may be called from any thread; they block for the disk, and for others who hold the lock. All raise
    UnusableFile for a file or folder that is not as it should be.
    """

    def __init__(self, folder: Path, clock: Clock = utc_now) -> None:
        """Opens a folder. Raises UnusableFile when there is none, or others can change it."""
        self.layout = Layout(files.absolute(folder))
        self._clock = clock
        if not os.path.lexists(self.layout.folder):
            raise self._missing(self.layout.folder)
        files.check_folder(self.layout.folder)

    @classmethod
    def make(cls, folder: Path, clock: Clock = utc_now) -> "Authority":
        """Opens a folder, which is made if it is missing, and made private; `renew` makes what belongs into it."""
        folder = files.absolute(folder)
        if os.path.lexists(folder):
            _check_contents(folder)
        files.make_folder(folder)
        files.keep_out_of_git(folder)
        return cls(folder, clock)

    def renew(self) -> Sequence[Path]:
        """Makes what is missing or damaged, and anew what has a third of its life left; the files that were written.

        An ordinary certificate is renewed 10 days before its end, so that it is enough to call this once a day. With a
        new certificate a service gets a new key. The authority keeps its key: a new one would have to be brought to
        everybody who trusts it.
        """
        with files.locked(self.layout.folder):
            files.sweep(self.layout.folder)
            return [*self._renew_authority(), *self._renew_token_keys(), *self._renew_certificates()]

    def certificate(self, name: str, days: int = issuing.DAYS) -> Sequence[Path]:
        """Makes a certificate and a key of a service, in the place of those it has; the files that were written.

        Raises ValueError for a name that can have none, and for a life that is none.
        """
        if name not in issuing.names():
            raise ValueError(f"{name!r} must be one of {', '.join(issuing.names())}")
        with files.locked(self.layout.folder):
            self._issuing_pair()  # raises where there is none: no authority is made in passing
            files.make_folder(self.layout.certificate(name).parent)
            return [*self._renew_authority(), *self._certify(name, days)]

    def token(self, subject: str, roles: Collection[RoleNumber], hours: float = minting.HOURS) -> str:
        """A token. Raises ValueError with what can't stand in it."""
        claims = minting.claims(subject, roles, self._clock(), hours)
        key = self._key(self.layout.issuer_key)
        if key is None:
            raise self._missing(self.layout.issuer_key)
        return minting.signed(claims, key)

    def write_token(
        self, subject: str, roles: Collection[RoleNumber], hours: float = minting.HOURS, out: Path | None = None
    ) -> Path:
        """Writes a token to its place within the folder, or to `out`; that file. Raises ValueError as `token`."""
        octets = f"{self.token(subject, roles, hours)}\n".encode()
        target = self.layout.token(subject) if out is None else files.absolute(out)
        with files.locked(self.layout.folder):
            if out is None:
                files.make_folder(target.parent)
            else:
                _check_is_token(target)
            files.write(target, octets, SECRET)
        return target

    def _renew_authority(self) -> Iterator[Path]:
        certificate, key = self._certificate(self.layout.ca), self._key(self.layout.ca_key)
        if certificate is not None and issuing.is_current(certificate, self._clock()):
            return  # even without its key, which may be kept elsewhere while nothing is to be signed
        if certificate is not None:
            key = self._key_of(certificate)
        if key is None:
            # The key first: if this ends before the certificate is there, the next one makes it for this key.
            key = issuing.new_key()
            files.write(self.layout.ca_key, issuing.key_pem(key), SECRET)
            yield self.layout.ca_key
        files.write(self.layout.ca, issuing.certificate_pem(issuing.authority(key, self._clock())), PUBLIC)
        yield self.layout.ca

    def _renew_token_keys(self) -> Iterator[Path]:
        path, key = self.layout.issuer_key, self._key(self.layout.issuer_key)
        if key is None:
            key = issuing.new_key()
            files.write(path, issuing.key_pem(key), SECRET)
            yield path
        # A set with more keys in it is left: tokens of another issuer may be accepted as well.
        if not minting.holds(files.read(self.layout.token_keys) or b"", key):
            # Beside those of others, and beside its own before: what that has signed ends by itself.
            octets = minting.with_key(files.read(self.layout.token_keys) or b"", key)
            files.write(self.layout.token_keys, octets, PUBLIC)
            yield self.layout.token_keys

    def _renew_certificates(self) -> Iterator[Path]:
        authority = self._certificate(self.layout.ca)
        for name in issuing.names():
            files.make_folder(self.layout.certificate(name).parent)  # also checks the one that is there
            if authority is None or not self._is_good(name, authority):
                yield from self._certify(name, issuing.DAYS)

    def _certify(self, name: str, days: int) -> Iterator[Path]:
        pair = issuing.leaf(self._issuing_pair(), name, self._clock(), days)
        certificate, key = self.layout.certificate(name), self.layout.key(name)
        # Two files can't change at once. Until both have, they do not fit together, and whoever loads them keeps what
        # he has; `renew` makes both anew if this ends between them.
        files.write(key, issuing.key_pem(pair.key), SECRET)
        yield key
        files.write(certificate, issuing.certificate_pem(pair.certificate), PUBLIC)
        yield certificate

    def _is_good(self, name: str, authority: x509.Certificate) -> bool:
        """False for what is to be made anew: also what is damaged, and a key that others may have read."""
        path, certificate = self.layout.key(name), files.read(self.layout.certificate(name))
        key = files.read(path)
        if certificate is None or key is None or not files.is_private(path):
            return False
        try:
            pair = Pair(issuing.parsed_certificate(certificate), issuing.parsed_key(key))
            return issuing.fits(*pair) and issuing.is_good(pair.certificate, authority, name, self._clock())
        except ValueError:
            return False

    def _issuing_pair(self) -> Pair:
        certificate = self._certificate(self.layout.ca)
        if certificate is None:
            raise self._missing(self.layout.ca)
        return Pair(certificate, self._key_of(certificate))

    def _key_of(self, authority: x509.Certificate) -> Key:
        """The key of the authority. Never made anew: who trusts the old authority would not trust another."""
        ca, key = self.layout.ca, self._key(self.layout.ca_key)
        if key is None:
            raise UnusableFile(f"{self.layout.ca_key} is missing; put it back, or move {ca.name} away to begin anew")
        if not issuing.fits(authority, key):
            raise UnusableFile(
                f"{ca} is not of {self.layout.ca_key.name}; put back the one that is, or move both away to begin anew"
            )
        return key

    def _key(self, path: Path) -> Key | None:
        octets = files.read_secret(path)
        return None if octets is None else _parsed(path, octets, issuing.parsed_key, self.layout.ca)

    def _certificate(self, path: Path) -> x509.Certificate | None:
        octets = files.read(path)
        return None if octets is None else _parsed(path, octets, issuing.parsed_certificate, self.layout.ca)

    def _missing(self, path: Path) -> UnusableFile:
        return UnusableFile(f"{path} is missing; {PROGRAM} init {self.layout.folder} makes it")


def _check_contents(folder: Path) -> None:
    """Raises UnusableFile for a folder with other things in it, which may be somebody's home: it would be closed."""
    files.check_folder(folder)
    names = set(files.names(folder)) - {IGNORED}
    if names and not names & {"ca.pem", "ca.key"} and not all(map(files.is_unfinished, names)):
        raise UnusableFile(f"{folder} holds other things; name a new folder, or an empty one")


def _check_is_token(target: Path) -> None:
    """Raises UnusableFile for a file with something else in it, which may be the only one of its kind: a key."""
    octets = files.read(target) if target.is_file() else None
    if octets and octets.count(b".") != 2:  # noqa: PLR2004 - between the three parts of a token
        raise UnusableFile(f"{target} holds something else than a token; name another file")


def _parsed(path: Path, octets: bytes, parse: Callable[[bytes], _Parsed], ca: Path) -> _Parsed:
    try:
        return parse(octets)
    except ValueError as error:
        both = f"it and {ca.name} away to begin anew" if path == ca.with_suffix(".key") else ""
        way_out = f"move {both or 'it away to have a new one made'}"
        raise UnusableFile(f"{path} {error}; put back what it was, or {way_out}") from None
