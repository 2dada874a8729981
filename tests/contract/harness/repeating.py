"""The command that repeats a run of the suite, from the options of the run."""

import shlex
from collections.abc import Iterator

import pytest

from tests.contract_options import ROLES

_SINGLE = (*(f"--{role}" for role in ROLES), "--amqp-url", "--amqp-proxy", "--stand-in", "--examples", "--patience")
_REPEATED = ("--restart", "--program")
_FLAGS = ("--quick", "--no-shrink")
_DEFAULT_PATIENCE = 20.0


def repeating(config: pytest.Config) -> str:
    """`nox -s contract -- …` with what says what is judged, where, and how thoroughly; without seed and laws."""
    return " ".join(["nox -s contract --", *map(shlex.quote, _options(config))])


def _options(config: pytest.Config) -> Iterator[str]:
    for option in _SINGLE:
        value = config.getoption(option)
        if value is not None and (option, value) != ("--patience", _DEFAULT_PATIENCE):
            yield f"{option}={value:g}" if isinstance(value, float) else f"{option}={value}"
    for option in _REPEATED:
        yield from (f"{option}={value}" for value in config.getoption(option))
    yield from (flag for flag in _FLAGS if config.getoption(flag))
