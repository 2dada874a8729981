"""Wrong options of the contract suite: refused at once, before anything is started.

Each error is one line that names the option and the way out; pytest ends with status 4.
"""

import difflib
import math
import os
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from ordersys.contract import addresses
from ordersys.contract.addresses import Address, InvalidAddress
from ordersys.runtime.rabbitmq import urls
from tests import workers
from tests.contract.harness.law_index import laws
from tests.contract_options import POSTGRESQL, ROLES, named, programs, restart_command

R = TypeVar("R")
REPORTS = (".json", ".html", ".svg")
_MOST_SEED = 2**32 - 1
_MOST_TEXT = 100
_MOST_REPLICAS = 4  # of each of four services, with five connections each: PostgreSQL takes 100
_FLAGS = ("--name", "--service-version")


def check(config: pytest.Config) -> None:
    """Reads numbers in the place of their texts. Raises pytest.UsageError for whatever can't be meant."""
    config.option.examples = _whole(config, "--examples", 1)
    config.option.seed = _whole(config, "--seed", 0, _MOST_SEED)
    config.option.replicas = _whole(config, "--replicas", 1, _MOST_REPLICAS)
    config.option.patience = _patience(config.getoption("--patience"))
    if not workers.is_worker(config):  # which works for a run that was checked, and may have begun to listen
        refuse(config)


def refuse(config: pytest.Config) -> None:
    """Raises pytest.UsageError for an option, or for options together, that can't be meant."""
    for role in ROLES:
        _read(config, f"--{role}", addresses.parse_list)
    _check_broker(config)
    _check_stand_in(config)
    _check_programs(config)
    _check_database(config)
    _check_secure(config)
    _check_restarts(config)
    _check_files(config)
    _check_laws(config.getoption("--law"))
    for flag in _FLAGS:
        text = config.getoption(flag)
        if text is not None and not (text.strip() and text.isprintable() and len(text) <= _MOST_TEXT):
            raise pytest.UsageError(f"{flag}={text!r} must be a text of 1 to {_MOST_TEXT} printable characters")


def _whole(config: pytest.Config, option: str, least: int, most: int | None = None) -> int | None:
    text = config.getoption(option)
    if text is None:
        return None
    number = int(text) if str(text).isascii() and str(text).isdecimal() else -1
    if number < least or (most is not None and number > most):
        span = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise pytest.UsageError(f"{option}={text} must be a whole number {span}")
    return number


def _patience(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise pytest.UsageError(f"--patience={text} must be a number of seconds greater than 0, such as 20")
    return seconds


def _address(config: pytest.Config, option: str) -> Address | None:
    return _read(config, option, addresses.parse)


def _read(config: pytest.Config, option: str, parse: Callable[[str], R]) -> R | None:
    text = config.getoption(option)
    if text is None:
        return None
    try:
        return parse(text)
    except InvalidAddress as error:
        raise pytest.UsageError(f"{option}={text} must be {error}") from None


def _check_broker(config: pytest.Config) -> None:
    url, proxy = config.getoption("--amqp-url"), _address(config, "--amqp-proxy")
    if url is None:
        if proxy:
            raise pytest.UsageError("--amqp-proxy needs to know the RabbitMQ behind it; add --amqp-url=URL")
        return
    try:
        parsed = urls.parse(url)
    except ValueError as error:  # it names no part of the URL, which may hold a password
        raise pytest.UsageError(f"--amqp-url must be {error}") from None
    if len(parsed) > 1:
        raise pytest.UsageError("--amqp-url must be one URL: the suite uses one node of a cluster; name one of them")
    if proxy and url.lower().startswith("amqps:"):
        raise pytest.UsageError("--amqp-proxy can't read what is encrypted; give an amqp:// URL, or leave it out")
    if proxy:
        _check_free("--amqp-proxy", proxy)


def _check_stand_in(config: pytest.Config) -> None:
    address = _address(config, "--stand-in")
    if address is None:
        return
    if not config.getoption("--product-service"):
        raise pytest.UsageError("--stand-in is for a Product Service that was told to call it; add --product-service")
    _check_free("--stand-in", address)


def _check_free(option: str, address: Address) -> None:
    """The suite listens there itself: somebody else must not."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        socket.create_server(tuple(address), family=family).close()
    except OSError as error:
        raise pytest.UsageError(
            f"{option}={address} can't be listened at: {error.strerror}; the suite listens there itself: choose a free"
            " port of this machine"
        ) from None


def _check_programs(config: pytest.Config) -> None:
    for text in config.getoption("--program"):
        role, _, command = text.partition("=")
        if role not in ROLES or not command.strip():
            raise pytest.UsageError(
                f"--program {text!r} must be ROLE=COMMAND, such as order-service='./my-service -v'; roles are"
                f" {', '.join(ROLES)}"
            )
        _check_command(f"--program {role}", command)
    texts = config.getoption("--program")
    if len(programs(config)) < len(texts):
        raise pytest.UsageError("--program names a role twice; one program runs in the place of a service")
    if texts and named(config):
        raise pytest.UsageError(
            f"--program has the suite start the system, and --{next(iter(named(config)))} judges one that runs; leave"
            " one of them out"
        )


def _check_database(config: pytest.Config) -> None:
    kind, replicas = config.getoption("--database"), config.getoption("--replicas")
    if kind is None:
        if int(replicas) > 1:
            raise pytest.UsageError("--replicas share a database; add --database=postgresql")
        return
    if kind != POSTGRESQL:
        raise pytest.UsageError(f"--database={kind} must be {POSTGRESQL}; without it each service has a file")
    if named(config):
        raise pytest.UsageError(
            f"--database is for our own system, and --{next(iter(named(config)))} judges one that runs; leave one out"
        )


def _check_secure(config: pytest.Config) -> None:
    for option in ("--database", *(f"--{role}" for role in ROLES)):
        if config.getoption("--secure") and config.getoption(option):
            raise pytest.UsageError(f"--secure has the suite start our system on files; leave {option} out")


def _check_restarts(config: pytest.Config) -> None:
    services = named(config)
    for role, command in map(restart_command, config.getoption("--restart")):
        if not services:
            raise pytest.UsageError(
                "--restart is for a service that was started by hand; name it, as in --order-service=HOST:PORT (what"
                " the suite has started, ours and --program, it kills and starts again by itself)"
            )
        if role and role not in services:
            raise pytest.UsageError(f"--restart {role} restarts what is not judged; add --{role}=HOST:PORT")
        _check_command("--restart", command)


def _check_command(option: str, command: str) -> None:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise pytest.UsageError(f"{option}={command!r} can't be taken apart as a shell does: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise pytest.UsageError(
            f"{option}={command!r}: {words[0] if words else ''!r} is no program that can be run; give its path; shell"
            " syntax needs a shell, as in \"sh -c '…'\""
        )


def _check_files(config: pytest.Config) -> None:
    for problem in _wrong_reports(config.getoption("--report")):
        raise pytest.UsageError(problem)
    known = config.getoption("--known-failures")
    if known is not None:
        try:
            Path(known).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            raise pytest.UsageError(
                f"--known-failures={known} can't be read: {reason}; name a file with the id of a law a line"
            ) from None


def _check_laws(chosen: Sequence[str]) -> None:
    there = [law.id for law in laws()] if chosen else []
    for law in chosen:
        if law not in there:
            similar = difflib.get_close_matches(law, there, cutoff=0.5) or ["docs/conformance.md lists them"]
            raise pytest.UsageError(f"--law={law} is the id of no law; similar: {', '.join(similar)}")


def _wrong_reports(files: Sequence[str]) -> Iterator[str]:
    for text in files:
        file = Path(text)
        if file.suffix not in REPORTS:
            yield f"--report={text} must end with one of {', '.join(REPORTS)}, which says what is written"
        else:
            yield from _unwritable(file)
    kinds = [Path(text).suffix for text in files]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        yield f"--report names two files of the kind {kind}; leave one out"


def _unwritable(file: Path) -> Iterator[str]:
    folder = str(file.parent)
    try:
        if file.is_dir():
            yield f"--report={file} is a folder; name a file in it"
        elif not file.parent.is_dir():
            yield f"--report={file} can't be written: there is no folder {folder!r}; make it, or name another"
        elif not os.access(file.parent, os.W_OK):
            yield f"--report={file} can't be written: the folder {folder!r} is read-only; name another"
    except OSError as error:  # nobody may even look
        yield f"--report={file} can't be written: {error.strerror}; name a file in a folder of yours"
