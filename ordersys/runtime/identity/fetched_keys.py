"""The keys of an issuer of tokens from where it publishes them: fetched in the background, kept while it is away.

An issuer is another system: it may be slow, away, or answer anything. No call waits for it, nothing it answers ends
the process, and what was good stays in use until something else is good.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from queue import SimpleQueue
from socket import SHUT_RDWR
from threading import Thread, Timer
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from jwt import PyJWK

from ordersys.console.opening import read_regular
from ordersys.runtime.base import https_url
from ordersys.runtime.base.settings import InvalidSetting
from ordersys.runtime.base.tls_versions import modern
from ordersys.runtime.identity.key_sets import Keys, KeySource, UnusableKeys, key_set
from ordersys.runtime.settings import Settings

_log = logging.getLogger(__name__)
COOLDOWN_SECONDS = 30.0
"""Seconds from one early refresh to the next: whoever invents ids of keys makes a service ask no more often."""
_RETRY_SECONDS = 30.0  # after a refresh that failed, where that is sooner than the next one
_LOOK_SECONDS = 5.0  # from one `reload` to the next (rpc/security.py)
_SILENT_SECONDS = 5.0  # that the issuer may take for its next octet
_MOST_SECONDS = 10.0  # that it may take for all of them
_START_SECONDS = 10.0  # that a service waits for its first keys
_MOST_BYTES = 1_048_576
_PART_BYTES = 65_536
_REDIRECTS = range(300, 400)
_MOST_CHARACTERS = 200


def source(settings: Settings) -> KeySource:
    """The keys that settings name, in a file or at a URL. Raises InvalidSetting, UnusableKeys."""
    file, url, ca_file = settings.token_keys_file, settings.token_keys_url, settings.token_keys_ca_file
    if file and url:
        text = "ORDERSYS_TOKEN_KEYS_FILE and ORDERSYS_TOKEN_KEYS_URL are both given; leave one of them out"
        raise InvalidSetting(text)
    if ca_file and not url:
        raise InvalidSetting("ORDERSYS_TOKEN_KEYS_CA_FILE is given without ORDERSYS_TOKEN_KEYS_URL; leave it out")
    if url:
        return FetchedKeys(url, ca_file, settings.token_keys_seconds)
    if not file:
        raise InvalidSetting("ORDERSYS_TOKEN_KEYS_FILE or ORDERSYS_TOKEN_KEYS_URL must be given")
    return Keys(file)


class _Fetched(NamedTuple):
    text: bytes | None
    """None before the first one: an issuer that answers nothing has said nothing."""
    keys: Mapping[str, PyJWK]


class FetchedKeys:
    """The public keys of an issuer by `kid`, from its JSON Web Key Set at a URL (RFC 7517, 5). For the event loop.

    Fetched at the start, then every so many seconds, and early, at most once in 30 s, for a key that is not known: an
    issuer may use a new one at once. A key that is gone from the set is refused within that time; of a set that can't
    be fetched the old keys stay in use, without an end. The constructor raises UnusableKeys for a file of authorities
    that can't be used.
    """

    def __init__(
        self, url: str, ca_file: Path | None, seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._ca_file = ca_file
        self._seconds = seconds
        self._now = now
        _context(ca_file)
        self.generation = 0
        """Rises each time new keys are taken."""
        self._fetched = _Fetched(None, {})
        self._next = 0.0
        self._next_early = 0.0
        self._begun: float | None = None
        self._troubles: set[str] = set()
        self._answered = asyncio.Event()
        self._wanted: SimpleQueue[_Fetched] = SimpleQueue()

    @property
    def works(self) -> bool:
        """False until keys have been fetched: no token can be verified, and somebody has to see to it."""
        return self.generation > 0

    async def start(self) -> None:
        """Fetches for the first time; waits for 10 s at most, and returns without keys if there are none by then."""
        loop = asyncio.get_running_loop()
        # A thread of its own, which nobody waits for: the look-up of a name takes as long as the system likes.
        Thread(target=self._work, args=(loop,), name="token-keys", daemon=True).start()
        self._begin()
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._answered.wait()
        except TimeoutError:
            self._met_slowness()

    def get(self, kid: str) -> PyJWK | None:
        """The key of this id; None if it is not known, which asks for an early refresh."""
        key = self._fetched.keys.get(kid)
        if key is None and self._begun is None and self._now() >= self._next_early:
            self._next_early = self._now() + COOLDOWN_SECONDS
            self._begin()
        return key

    def reload(self) -> None:
        """Begins a refresh if it is time; to be called every 5 s. Never waits."""
        if self._begun is None:
            if self._now() + _LOOK_SECONDS > self._next:
                self._begin()
        elif self._now() - self._begun > _MOST_SECONDS:
            self._met_slowness()

    def _begin(self) -> None:
        self._begun = self._now()
        self._wanted.put(self._fetched)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fetches whenever it is wanted, until the process or its event loop ends."""
        while True:
            before = self._wanted.get()
            try:
                result: _Fetched | str = self._attempt(before)
            except Exception as error:  # noqa: BLE001 - whatever it answers, its keys stay and the process goes on
                result = f"can't be fetched: {_reason(error)}"
            try:
                loop.call_soon_threadsafe(self._take, result)
            except RuntimeError:  # the loop is closed
                return

    def _attempt(self, before: _Fetched) -> _Fetched | str:
        """The set as it is now, or why it can't be used."""
        text = _fetch(self._url, _context(self._ca_file))
        if text == before.text:
            return before
        try:
            return _Fetched(text, key_set(text))
        except ValueError as error:
            return str(error)

    def _take(self, result: _Fetched | str) -> None:
        begun, self._begun = self._begun or self._now(), None
        self._answered.set()
        if isinstance(result, str):
            self._next = self._now() + (min(self._seconds, _RETRY_SECONDS) if self.works else 0)
            self._met(result)
            return
        self._next = begun + self._seconds
        if result.text != self._fetched.text or self._troubles:
            again = " again" if self._troubles else ""
            _log.info("the key set at %s is taken%s: %d keys", https_url.shown(self._url), again, len(result.keys))
        self._troubles.clear()
        if result.text != self._fetched.text:
            self._fetched = result
            self.generation += 1

    def _met_slowness(self) -> None:
        self._met(f"takes longer than {_MOST_SECONDS:g} s")

    def _met(self, trouble: str) -> None:
        """Logs a trouble, once until it is over."""
        if trouble not in self._troubles:
            self._troubles.add(trouble)
            outcome = "the old one stays in use" if self.works else "no token is accepted until there is one"
            _log.error("the key set at %s %s; %s", https_url.shown(self._url), trouble, outcome)


def _context(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts the authorities in a file alone, or those of the system. Raises UnusableKeys."""
    if ca_file is None:
        return modern(ssl.create_default_context())
    try:
        text = read_regular(ca_file).decode("ascii", "ignore")  # ssl takes no other, which stand in comments alone
        # To ssl, "" are those of the system.
        return modern(ssl.create_default_context(cadata=text.strip() or "none"))
    except ssl.SSLError:
        reason = "holds no certificate in PEM"
    except OSError as error:
        reason = f"can't be read: {error.strerror}"
    raise UnusableKeys(f"{ca_file} {reason}; name the certificates of the authorities of the issuer's server")


def _fetch(url: str, context: ssl.SSLContext) -> bytes:
    """The octets at an https URL, by the proxy of the environment, if any. Raises OSError, HTTPException, ValueError.

    Blocks for 5 s at most where the issuer falls silent, for 20 s where it does not come to an end; the look-up of its
    name takes as long as the system likes. No redirect is followed: it leads elsewhere than the setting says.
    """
    opener = OpenerDirector()
    opener.addheaders = [("User-Agent", "ordersys")]
    # Those of `build_opener` but for http, ftp, file, data and redirects.
    for handler in (ProxyHandler(), _Handler(context=context), HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    ends = time.monotonic() + _MOST_SECONDS
    with opener.open(Request(url, headers={"Accept": "application/json"}), timeout=_SILENT_SECONDS) as response:  # noqa: S310 - https alone
        return _read(response, ends)


class _Connection(HTTPSConnection):
    """A connection on which 10 s are enough for the headers: the time of a socket begins anew with each octet."""

    def connect(self) -> None:
        timer = Timer(_MOST_SECONDS, self._give_up)
        timer.daemon = True
        timer.start()
        super().connect()

    def _give_up(self) -> None:
        if self.sock is not None:  # until the headers are there; the body has a time of its own
            with suppress(OSError):
                self.sock.shutdown(SHUT_RDWR)


class _Handler(HTTPSHandler):
    def https_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_Connection, request, context=self._context)  # type: ignore[attr-defined]


def _read(response: HTTPResponse, ends: float) -> bytes:
    octets = bytearray()
    while part := response.read1(_PART_BYTES):
        octets += part
        if len(octets) > _MOST_BYTES:
            raise ValueError("more than 1 MiB")
        if time.monotonic() > ends:
            raise TimeoutError
    return bytes(octets)


def _reason(error: Exception) -> str:
    """A reason fit for a log, in a few words."""
    match error:
        case HTTPError():
            error.close()
            text = f"status {error.code}" + (", redirects are not followed" if error.code in _REDIRECTS else "")
        case URLError(reason=Exception() as cause):
            text = _reason(cause)
        case ssl.SSLCertVerificationError():
            text = f"its certificate is not valid: {error.verify_message}"
        case TimeoutError():
            text = "no answer in time"
        case HTTPException():
            text = f"no answer in HTTP ({type(error).__name__})"
        case OSError(strerror=str() as text):
            pass
        case _:
            text = str(error) or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in text)[:_MOST_CHARACTERS]
