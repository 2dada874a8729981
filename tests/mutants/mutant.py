"""A mutant: our own code with one small change, made while Python loads it. The files stay as they are.

Each is a diff in `catalogue`, with the sentence, the service, the law that has to catch it, and the failure expected of
that law at its head:

    An event leaves the outbox although the broker hiccuped before it confirmed.

    service: order-service
    caught by: broker_trouble/a_creation_the_broker_did_not_keep_is_published_again
    fails with: not so within … None

    --- a/ordersys/runtime/relay.py
    +++ b/ordersys/runtime/relay.py
    @@
     context
    -as it is
    +broken

The law's counterexample has to have these words, in this order where … parts them, or those behind a |, where the law
has cases that fail in other words: a law that fails for any other reason has not noticed what is broken.

A mistake that only several processes of a service can show says `replicas: 2` in its head, below the service. It is
judged with so many of each on one PostgreSQL, and in no other way: a single process is right all the same, and whoever
is judged alone is one.

A mistake that only a system with identities can show says `identities: yes` there, and is judged in that way alone.
One that PostgreSQL can't show, such as a check that a constraint of its tables makes as well, says `files: yes`.

A mistake that is none against the contract, such as a wrong metric or a trace that breaks, is caught by a test of ours:
`caught by: tests/unit/test_backlog.py::test_…`. It says `service: *`, and is judged by that test and in no other way.
So is one that a law would catch by luck alone, such as a race between two queries. There `replicas: 2` says that the
test needs a PostgreSQL, and starts the processes itself.

A hunk is found by its lines alone, so that it has no line numbers to rot, and has to be there exactly once: a
refactoring that moves or doubles what it changes is noticed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

PRODUCT, ORDER = "product-service", "order-service"
LISTENER_1, LISTENER_2 = "notification-service-1", "notification-service-2"
SERVICES = (ORDER, PRODUCT, LISTENER_1, LISTENER_2)
ALL = "*"
"""Every service, and whoever starts them: for what each of them declares in the broker."""


_MOST_REPLICAS = 4
_TESTS = "tests/"
_WANTED = {"service", "caught by", "fails with"}


class Moved(Exception):
    """The lines a hunk changes are not there exactly once."""


class Malformed(Exception):
    """A diff of the catalogue that can't be read; the text says why."""


@dataclass(frozen=True)
class Edit:
    """A hunk: in the file at `path` the lines `new` in the place of the lines `old`."""

    path: str
    old: str
    new: str

    @property
    def full_name(self) -> str:
        """The module as Python imports it."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def make(self, source: str) -> str:
        """`source` with the change made. Raises Moved."""
        places = [place.span() for place in re.finditer(f"^{re.escape(self.old)}", source, re.MULTILINE)]
        if len(places) != 1:
            raise Moved(f"{self.path} has it {len(places)} times:\n{self.old}")
        ((begin, end),) = places
        return source[:begin] + self.new + source[end:]


@dataclass(frozen=True)
class Mutant:
    """An implementation broken on purpose: what is broken, in which service, by which edits.

    `caught_by` is the id of a law that has to catch it, which is tried first, or that of a test of ours. Its
    counterexample has the words `fails_with`.
    """

    name: str
    service: str
    sentence: str
    edits: tuple[Edit, ...]
    caught_by: str
    fails_with: str
    replicas: int = 1
    """How many processes of each service share a PostgreSQL when it is judged; 1: each service has files of its own."""
    on_postgresql: bool = False
    """True where one process of each service is judged on a PostgreSQL as well: by whoever runs it, not by its file."""
    identities: bool = False
    """True for one that is judged with identities: certificates for the services, tokens for their callers."""
    in_files: bool = field(default=False, repr=False)
    """True for one that is judged with files alone: on a PostgreSQL it is none. Has no part in what it is otherwise."""

    @property
    def is_tested(self) -> bool:
        """True for one that a test of ours judges, and no law of the contract."""
        return self.caught_by.startswith(_TESTS)

    @property
    def shares_database(self) -> bool:
        """True for one that is judged on a PostgreSQL."""
        return self.replicas > 1 or self.on_postgresql

    @property
    def services(self) -> tuple[str, ...]:
        """Those that are broken."""
        return SERVICES if self.service == ALL else (self.service,)

    @property
    def key(self) -> str:
        """A name for what it is now: another edit, law or failure makes it another one."""
        return f"{self.name} {blake2b(repr(self).encode(), digest_size=4).hexdigest()}"

    def fails_as_stated(self, counterexample: str) -> bool:
        """True where `counterexample` has the words that were stated; never where none were."""
        return any(_has(_plain(counterexample), words) for words in self.fails_with.split("|"))


def read(name: str, text: str) -> Mutant:
    """The mutant in a file of the catalogue. Raises Malformed."""
    head, mark, diff = text.partition("--- a/")
    lines = head.splitlines()
    said = dict(line.partition(": ")[::2] for line in lines[1:] if line)
    # A failure that is not stated yet is found with `--learn`, which has to read the mutant.
    said.setdefault("fails with", "")
    replicas = _replicas(name, said.pop("replicas", "1"))
    identities = _yes(name, "identities", said.pop("identities", ""))
    in_files = _yes(name, "files", said.pop("files", ""))
    if said.keys() != _WANTED or not mark:
        raise Malformed(f"{name}: a sentence, `service:`, `caught by:`, `fails with:`, and a diff are wanted")
    edits = tuple(_edits(name, mark + diff))
    return Mutant(
        name,
        said["service"],
        lines[0],
        edits,
        said["caught by"],
        said["fails with"],
        replicas=replicas,
        identities=identities,
        in_files=in_files,
    )


def _yes(name: str, word: str, text: str) -> bool:
    if text not in ("", "yes"):
        raise Malformed(f"{name}: `{word}: {text}` has to be yes, or left out")
    return text == "yes"


def _replicas(name: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MOST_REPLICAS:
        raise Malformed(f"{name}: `replicas: {text}` has to be a number from 1 to {_MOST_REPLICAS}")
    return int(text)


def _edits(name: str, diff: str) -> Iterator[Edit]:
    for of_file in diff.split("--- a/")[1:]:
        names, *hunks = of_file.split("@@\n")
        path = names.partition("\n")[0]
        if names != f"{path}\n+++ b/{path}\n" or not hunks:
            raise Malformed(f"{name}: `+++ b/{path}` is wanted below, then hunks, each below a line with @@")
        for hunk in hunks:
            lines = [line or " " for line in hunk.splitlines()]
            if unknown := [line for line in lines if line[0] not in " -+"]:
                raise Malformed(f"{name}: a line of a diff begins with a blank, - or +: {unknown[0]}")
            old, new = ("".join(f"{line[1:]}\n" for line in lines if line[0] in kept) for kept in (" -", " +"))
            yield Edit(path, old, new)


def _has(text: str, words: str) -> bool:
    """True where `text` has the words, with anything in the place of each …; never where there are none."""
    parts = [re.escape(_plain(part)) for part in words.split("…")]
    return any(parts) and re.search(".*".join(parts), text) is not None


def _plain(text: str) -> str:
    """A text in one line, however it was broken and indented."""
    return " ".join(text.split())
