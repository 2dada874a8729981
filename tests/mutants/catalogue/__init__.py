"""Every mutant, by theme: each a sentence about what is broken, and the edit that breaks it."""

from tests.mutants.catalogue import (
    batches,
    dead_letters,
    events,
    orders,
    pages,
    refusals,
    requests,
    sagas,
    stock,
    subscribers,
    topology,
)
from tests.mutants.mutant import Mutant

THEMES = (stock, sagas, requests, batches, orders, events, topology, subscribers, dead_letters, pages, refusals)
MUTANTS: dict[str, Mutant] = {mutant.name: mutant for theme in THEMES for mutant in theme.MUTANTS}
"""By name."""
