"""What a mutant is: our own code with one small edit, made while Python loads it.

The files stay as they are. An edit names the text it replaces, so that a refactoring that moves it is noticed.
"""

import re
from dataclasses import dataclass

PRODUCT, ORDER = "product-service", "order-service"
LISTENER_1, LISTENER_2 = "notification-service-1", "notification-service-2"
SERVICES = (ORDER, PRODUCT, LISTENER_1, LISTENER_2)
ALL = "*"
"""Every service, and whoever starts them: for what each of them declares in the broker."""


class Moved(Exception):
    """The text an edit replaces is not there exactly once."""


@dataclass(frozen=True)
class Edit:
    """One change of a module under `ordersys`: `new` in the place of `old`.

    Both may have several lines, indented as if the line in which `old` begins were not.
    """

    module: str
    old: str
    new: str

    @property
    def full_name(self) -> str:
        """The module as Python imports it."""
        return f"ordersys.{self.module}"

    def make(self, source: str) -> str:
        """`source` with the change made. Raises Moved."""
        first, *more = map(re.escape, self.old.split("\n"))
        pattern = rf"^( *)([^\n]*?){first}" + "".join(rf"\n\1{line}" for line in more)
        places = list(re.finditer(pattern, source, re.MULTILINE))
        if len(places) != 1:
            raise Moved(f"{self.full_name} has it {len(places)} times: {self.old}")
        (place,) = places
        new = self.new.replace("\n", f"\n{place[1]}")
        return f"{source[: place.start()]}{place[1]}{place[2]}{new}{source[place.end() :]}"


@dataclass(frozen=True)
class Mutant:
    """An implementation broken on purpose: what is broken, in which service, by which edits.

    `caught_by` is the id of a law that has to catch it: it is tried first.
    """

    name: str
    service: str
    sentence: str
    edits: tuple[Edit, ...]
    caught_by: str

    @property
    def services(self) -> tuple[str, ...]:
        """The services that are broken."""
        return SERVICES if self.service == ALL else (self.service,)
