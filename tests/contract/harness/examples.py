"""The number of examples each law is tried with: set once, before the laws are imported."""

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings

F = TypeVar("F", bound=Callable[..., Any])
_PROFILE = "contract"
_DEFAULT, _QUICK = 40, 8
_LAW_SECONDS = 900


def configure(examples: int | None, quick: bool, shrink: bool = True) -> None:
    """Sets the number of examples, and whether what fails is made as small as it can be."""
    # What `explain` adds is about this suite's own lines, which say nothing to whoever is judged.
    phases = [phase for phase in Phase if phase is not Phase.explain and (shrink or phase is not Phase.shrink)]
    settings.register_profile(
        _PROFILE,
        max_examples=examples or (_QUICK if quick else _DEFAULT),
        phases=phases,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def with_examples(law: F) -> F:
    """A law that is tried with that many examples."""
    configured: F = settings.get_profile(_PROFILE)(law)
    return configured


def share(part: int) -> int:
    """A part of the examples, for laws whose examples are dear; at least one."""
    return max(settings.get_profile(_PROFILE).max_examples // part, 1)


def seconds() -> int:
    """The time limit of a law: failing examples are also made smaller, and many laws wait."""
    return max(_LAW_SECONDS, _LAW_SECONDS * settings.get_profile(_PROFILE).max_examples // _DEFAULT)


configure(None, quick=True)
