"""How many examples a law is tried with: chosen once, before the laws are read."""

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings

F = TypeVar("F", bound=Callable[..., Any])
_PROFILE = "contract"
_DEFAULT, _QUICK = 40, 8


def choose(examples: int | None, quick: bool) -> None:
    """Sets the number of examples."""
    settings.register_profile(
        _PROFILE,
        max_examples=examples or (_QUICK if quick else _DEFAULT),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def tried(law: F) -> F:
    """A law that is tried with that many examples."""
    found: F = settings.get_profile(_PROFILE)(law)
    return found


def share(part: int) -> int:
    """A part of the examples, for laws whose examples are dear; at least one."""
    return max(settings.get_profile(_PROFILE).max_examples // part, 1)


choose(None, quick=True)
