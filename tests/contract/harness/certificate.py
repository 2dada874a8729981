"""The certificate of a run as data: what was judged and what was not, law by law, by which suite, and what came out.

Printed by `certificate_text`, written as a page by `certificate_html`, and here as JSON and as a badge. Pure.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from tests.contract.harness.client import ROLES
from tests.contract.harness.law_index import Citation
from tests.contract.harness.run_facts import Contract, Machine, Suite

FORMAT = "ordersys conformance report 1"
KEPT, BROKEN, SKIPPED = "passed", "failed", "skipped"
RESULTS = (BROKEN, "known", "fixed", KEPT, SKIPPED)
"""The worst first: that of its cases is what a law comes to."""
RESTART = "restart"
_UNTRIED = {
    "broker": "events",
    "proxy": "trouble with the broker",
    "stand-in": "trouble with the Order Service",
    "identities": "rights",
    "users": "forged events",
    "declarers": "queues that are missing",
    "in-clear": "calls that no client library makes",
    RESTART: "durability",
}
"""The subject that is not judged where a means is missing."""
_WANTING = {
    "broker": "no broker was named (--amqp-url)",
    "proxy": "the suite does not stand between the services and their broker (--amqp-proxy)",
    "stand-in": "the suite does not stand in for the Order Service (--stand-in)",
    "identities": "the services run without identities (--secure judges ours with them)",
    "users": "the services share a user of their broker (--secure gives each its own, where no broker is named)",
    "declarers": "the services may not declare: each has a user of its own",
    "in-clear": "the connections are encrypted",
    RESTART: "the suite may not kill what it judges (--restart)",
}
LEFT_OUT = "left out of this run (--law, -k, -m, or the files that were named)"
NOT_REACHED = "the run ended before"
# What stands before the host in a URL, up to the last @, and what a broker's URL may say behind its virtual host.
_USER_INFO = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/]*@")
_QUERY = re.compile(r"(\bamqps?://[^\s?]*\?)[^\s'\"]+", re.IGNORECASE)
_HIDDEN = "***"
_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\[]<>`*_"})
_BADGE_HEIGHT = 20
_LETTER = 6.6  # pixels of a letter of 11 px Verdana, on average
_GREEN, _RED, _AMBER, _GREY = "#2e7d32", "#b3261e", "#8a5a00", "#444444"


@dataclass(frozen=True)
class Judged:
    """A service that was judged, or one of ours around it."""

    role: str
    kind: str
    """`address`, `program`, or `ours`."""
    at: str
    """The address or the command; of ours nothing."""

    def __str__(self) -> str:
        return {"address": f"{self.role} at {self.at}", "program": f"{self.role}, run as {self.at}"}.get(
            self.kind, f"our own {self.role}"
        )


@dataclass(frozen=True)
class Subject:
    """The subject of a run: the name and version its owner gave, and its services."""

    name: str
    version: str
    services: tuple[Judged, ...]

    @property
    def foreign(self) -> tuple[Judged, ...]:
        """The services that somebody brought."""
        return tuple(judged for judged in self.services if judged.kind != "ours")

    @property
    def title(self) -> str:
        """The name and version; without a name the roles."""
        name = self.name or ", ".join(judged.role for judged in self.foreign) or "our own services"
        return f"{name} {self.version}".strip()


@dataclass(frozen=True)
class Sizes:
    """The sizes of a run, and its seed: they repeat it."""

    seed: int
    examples: int
    quick: bool
    patience: float


@dataclass
class LawResult:
    """The result of one law."""

    id: str
    sentence: str
    citations: tuple[Citation, ...]
    result: str
    why: str = ""
    """The reason why it was not judged, where it was not."""
    cases: int = 0
    failed_cases: list[str] = field(default_factory=list)
    seconds: float = 0.0
    counterexample: str = ""
    means_missing: tuple[str, ...] = ()
    """The means for want of which a case was not judged, although its services are."""


@dataclass(frozen=True)
class Certificate:
    """Everything about a run."""

    subject: Subject
    contract: Contract
    suite: Suite
    machine: Machine
    date: str
    sizes: Sizes
    laws: tuple[LawResult, ...]
    seconds: float
    calls: Mapping[str, int]
    heard: Mapping[str, int]
    troubles: tuple[str, ...]
    durability: str
    """The reason why durability was not judged; empty where it was."""
    interrupted: bool = False
    """True where the run ended before its laws were tried: by Ctrl-C, pytest.exit, or an error of the suite."""
    cases_left_out: int = 0
    """Cases that were left out of laws that were tried."""
    again: str = ""
    """The command that repeats the run, without the seed and the law."""

    @property
    def ok(self) -> bool:
        """True where laws were tried, none was broken, and nothing spoils or ended the run."""
        spoiled = self.interrupted or self.of(BROKEN) or self.troubles
        return any(law.cases for law in self.laws) and not spoiled

    @property
    def left_out(self) -> int:
        """The number of laws that were not chosen for this run."""
        return sum(law.why == LEFT_OUT for law in self.laws)

    @property
    def partial(self) -> bool:
        """True where somebody chose what to try: what was kept is no statement about the contract as a whole."""
        return bool(self.left_out or self.cases_left_out)

    @property
    def untried(self) -> list[str]:
        """The subjects of which a law was not judged for want of a means, though its services are."""
        missing = {means for law in self.laws for means in law.means_missing}
        return [subject for means, subject in _UNTRIED.items() if means in missing]

    @property
    def complete(self) -> bool:
        """True where all that there is to judge of these services was judged."""
        return not self.partial and not self.untried

    def repeat(self, law: str) -> str:
        """The command that tries this law again, with the same seed."""
        return f"{self.again} --seed={self.sizes.seed} --law={law}"

    def of(self, result: str) -> list[LawResult]:
        """The laws with this result."""
        return [law for law in self.laws if law.result == result]

    def not_judged(self) -> dict[str, list[LawResult]]:
        """The laws that were not judged, by the reason, the most frequent one first."""
        by_reason: dict[str, list[LawResult]] = {}
        for law in self.of(SKIPPED):
            by_reason.setdefault(law.why, []).append(law)
        return dict(sorted(by_reason.items(), key=lambda item: -len(item[1])))

    def verdict(self) -> str:
        """The result in a few words."""
        kept, broken = len(self.of(KEPT)), len(self.of(BROKEN))
        if not kept and not broken:
            return "nothing judged"
        if self.partial:
            outcome = f"{broken} broken" if broken else f"{kept} kept"
            return f"{kept + broken} of {counted(len(self.laws), 'law')} tried, {outcome}; partial"
        return f"{broken} of {counted(kept + broken, 'law')} broken" if broken else f"{counted(kept, 'law')} kept"

    def badge_text(self) -> str:
        """The verdict, with what limits it."""
        quick = " (--quick)" if self.sizes.quick else ""
        limits = f", {_enumerated(self.untried)} not judged" if self.untried and self.ok and not self.partial else ""
        spoiled = ", run spoiled" if self.troubles and not (self.of(BROKEN) or self.interrupted) else ""
        interrupted = ", run interrupted" if self.interrupted else ""
        return f"{self.verdict()}{quick}{limits}{spoiled}{interrupted}"

    def badge_line(self, picture: str | None, page: str | None) -> str:
        """A line for a README in Markdown: a picture where one is written, linked to the page where that is."""
        title = self.subject.title.translate(_MARKDOWN)
        text = f"ordersys contract {self.contract.version}: {title}, {self.badge_text()}"
        shown = f"![{text}]({picture})" if picture else f"{text} ({self.date[:10]})"
        return f"[{shown}]({page})" if page else shown


def joined(parts: Sequence[Certificate], lost: Collection[str] = ()) -> Certificate:
    """One certificate of a run whose laws several processes have tried, each law in one of them.

    `lost` says which processes did not come to their end: what they have tried is not known.
    """
    by_id: dict[str, LawResult] = {}
    for law in (law for part in parts for law in part.laws):
        by_id[law.id] = max(by_id.get(law.id, law), law, key=_told)
    missing = [f"the process {name}, which tried laws, did not come to its end" for name in lost]
    return replace(
        parts[0],
        laws=tuple(by_id.values()),
        seconds=max(part.seconds for part in parts),
        calls=sum((Counter(part.calls) for part in parts), Counter()),
        heard=sum((Counter(part.heard) for part in parts), Counter()),
        troubles=tuple(dict.fromkeys([*(trouble for part in parts for trouble in part.troubles), *missing])),
        durability=min((part.durability for part in parts), key=lambda why: (bool(why), why == NOT_REACHED)),
        interrupted=bool(lost) or any(part.interrupted for part in parts),
    )


def _told(law: LawResult) -> tuple[bool, bool]:
    """The knowledge a process has of a law: that it has tried it, or why it could not."""
    return law.cases > 0, law.why != NOT_REACHED


def scrubbed(certificate: Certificate) -> Certificate:
    """The certificate without the user and password of any URL, wherever they came from."""
    c = certificate
    services = tuple(replace(judged, at=hidden(judged.at)) for judged in c.subject.services)
    return replace(
        c,
        subject=Subject(hidden(c.subject.name), hidden(c.subject.version), services),
        laws=tuple(
            replace(
                law,
                why=hidden(law.why),
                counterexample=hidden(law.counterexample),
                failed_cases=list(map(hidden, law.failed_cases)),
            )
            for law in c.laws
        ),
        troubles=tuple(map(hidden, c.troubles)),
        durability=hidden(c.durability),
        again=hidden(c.again),
    )


def hidden(text: str) -> str:
    """A text without what may be secret in its URLs: user and password, and the options of a broker's."""
    return _QUERY.sub(rf"\1{_HIDDEN}", _USER_INFO.sub(rf"\1{_HIDDEN}@", text))


def reason(lacking: Iterable[str]) -> str:
    """The reason why a law was not judged that needs these: all that is wanting, services before means."""
    wanting = set(lacking)
    roles = [role for role in ROLES if role in wanting]
    judged = [f"no {' and no '.join(roles)} is judged ({', '.join(f'--{role}' for role in roles)})"] if roles else []
    return "; ".join([*judged, *(text for means, text in _WANTING.items() if means in wanting)])


def where(citation: Citation) -> str:
    """The place of a sentence of the contract: its file, and the section where it has one."""
    return f"{citation.source}, {citation.heading}" if citation.heading else citation.source


def counted(count: int, noun: str) -> str:
    """So many of them: 1 law, 2 laws."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _enumerated(words: Sequence[str]) -> str:
    """One, two and three."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def as_json(certificate: Certificate, badge_line: str) -> dict[str, Any]:
    """For programs: facts, the summary, and an entry for each law."""
    c = certificate
    return {
        "format": FORMAT,
        "ok": c.ok,
        "interrupted": c.interrupted,
        "partial": c.partial,
        "name": c.subject.title,
        "judged": [{"role": judged.role, "kind": judged.kind, "at": judged.at} for judged in c.subject.services],
        "durability": {"judged": not c.durability, "why": c.durability},
        "not_judged": c.untried,
        "contract": c.contract._asdict(),
        "suite": c.suite._asdict(),
        "run": {
            "date": c.date,
            "seed": c.sizes.seed,
            "examples": c.sizes.examples,
            "quick": c.sizes.quick,
            "patience_seconds": c.sizes.patience,
            "machine": c.machine._asdict(),
        },
        "badge": badge_line,
        "laws": [_law_as_json(law, c.repeat(law.id)) for law in c.laws],
        "summary": {
            **{result: len(c.of(result)) for result in RESULTS},
            "left_out": c.left_out,
            "seconds": round(c.seconds, 3),
            "calls": dict(c.calls),
            "heard": dict(c.heard),
            "troubles": list(c.troubles),
            "ok": c.ok,
        },
    }


def _law_as_json(law: LawResult, again: str) -> dict[str, Any]:
    return {
        "id": law.id,
        "sentence": law.sentence,
        "contract": [citation._asdict() for citation in law.citations],
        "result": law.result,
        "why": law.why,
        "cases": law.cases,
        "failed_cases": law.failed_cases,
        "seconds": round(law.seconds, 3),
        "counterexample": law.counterexample,
        "again": again if law.result == BROKEN else "",
    }


def badge(certificate: Certificate) -> str:
    """The badge as a picture (SVG) that needs no network."""
    left, right = f"ordersys contract {certificate.contract.version}", certificate.badge_text()
    colour = _RED if not certificate.ok else _GREEN if certificate.complete else _AMBER
    return "\n".join(_badge_parts(escape(left), escape(right), _width(left), _width(right), colour))


def _badge_parts(left: str, right: str, a: int, b: int, colour: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{a + b}" height="{_BADGE_HEIGHT}" role="img"'
        f' aria-label="{left}: {right}">'
    )
    yield f"<title>{left}: {right}</title>"
    yield f'<rect width="{a}" height="{_BADGE_HEIGHT}" fill="{_GREY}"/>'
    yield f'<rect x="{a}" width="{b}" height="{_BADGE_HEIGHT}" fill="{colour}"/>'
    yield '<g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
    yield f'<text x="{a / 2}" y="14">{left}</text><text x="{a + b / 2}" y="14">{right}</text></g>'
    yield "</svg>\n"


def _width(text: str) -> int:
    return round(len(text) * _LETTER) + 12
