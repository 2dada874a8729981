"""The certificate as one page: readable without a script or a network, and on paper. Pure.

Everything that comes from outside is escaped: names, commands, and what a service has answered.
"""

import re
from collections.abc import Iterable, Iterator
from html import escape

from tests.contract.harness.certificate import BROKEN, KEPT, Certificate, LawResult, badge, counted, where

_SHOWN = {KEPT: "kept", BROKEN: "broken", "known": "known to fail", "fixed": "kept, listed as failing"}
_NOT_JUDGED = "not judged"
_RENDERED = (("`", "code"), ("**", "strong"), ("*", "em"))
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.verdict { font-size: 1.15rem; font-weight: 600; margin: .2rem 0 1rem; }
.kept { color: #1b5e20; } .broken { color: #b3261e; } .other { color: #6b4e00; } .quiet { color: #555; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #ddd; }
th { white-space: nowrap; font-weight: 600; }
td.number { text-align: right; white-space: nowrap; } code, pre { font: 13px/1.4 ui-monospace, monospace; }
code { overflow-wrap: anywhere; }
pre { background: #f5f5f5; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
blockquote { margin: .3rem 0; padding-left: .8rem; border-left: 3px solid #ccc; color: #333; }
tr { break-inside: avoid; } table.reasons tr { break-inside: auto; } h2, h3 { break-after: avoid; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } thead { display: table-header-group; } }
"""


def page(certificate: Certificate, badge_line: str) -> str:
    """The whole page."""
    return "\n".join(_page(certificate, badge_line)) + "\n"


def _page(c: Certificate, badge_line: str) -> Iterator[str]:
    title = escape(f"{c.subject.title}: ordersys contract {c.contract.version}")
    yield f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>"
    kind = "broken" if not c.ok else "kept" if c.complete else "other"
    yield f'<p class="verdict {kind}">{escape(c.badge_text())}</p>'
    yield f"<p>{badge(c).strip()}</p>"
    yield from (f'<p class="broken">{escape(trouble)}</p>' for trouble in c.troubles)
    if c.partial:
        yield f'<p class="other">A part of the suite: {counted(c.left_out, "law")} of {len(c.laws)} left out.</p>'
    yield from _table("What was judged", _judged(c))
    yield from _table("The run", _facts(c))
    if broken := c.of(BROKEN):
        yield "<h2>Broken laws</h2>"
        for law in broken:
            yield from _broken(law, c.repeat(law.id))
    yield from _not_judged(c)
    yield from _laws(c)
    yield "<h2>For a README, with the badge and this page copied beside it</h2>"
    yield f"<pre>{escape(badge_line)}</pre>\n</body>\n</html>"


def rendered(text: str) -> str:
    """A sentence in Markdown as HTML: code, strong, emphasis."""
    html = escape(text)
    for mark, tag in _RENDERED:
        sign = re.escape(mark)
        html = re.sub(rf"{sign}(?=\S)([^*`]+?)(?<=\S){sign}", rf"<{tag}>\1</{tag}>", html)
    return html


def _table(heading: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A table of two columns; the second is HTML."""
    yield f"<h2>{heading}</h2>\n<table>"
    yield from (f'<tr><th scope="row">{escape(name)}</th><td>{value}</td></tr>' for name, value in rows)
    yield "</table>"


def _judged(c: Certificate) -> Iterator[tuple[str, str]]:
    for service in c.subject.services:
        at = {"address": "at <code>{}</code>", "program": "run as <code>{}</code>"}.get(
            service.kind, "our own, of this suite's version"
        )
        yield service.role, at.format(escape(service.at))
    kept = "judged: nothing that was answered, acknowledged or owed was lost by SIGKILL"
    yield "durability", f"not judged: {escape(c.durability)}" if c.durability else kept if c.ok else "judged"
    calls = ", ".join(f"{role} {count}" for role, count in c.calls.items() if count)
    heard = ", ".join(f"{exchange} {count}" for exchange, count in c.heard.items() if count)
    yield "calls made", escape(calls or "none")
    yield "events heard", escape(heard or "none")


def _facts(c: Certificate) -> Iterator[tuple[str, str]]:
    yield "contract", f"{escape(c.contract.version)}, <code>{escape(c.contract.digest)}</code>"
    commit = f", commit <code>{escape(c.suite.commit)}</code>" if c.suite.commit else ""
    yield "suite", f"{escape(c.suite.version)}{commit}"
    yield "date", escape(c.date)
    quick = " (--quick)" if c.sizes.quick else ""
    yield "seed", str(c.sizes.seed)
    yield "again, all laws", f"<code>{escape(c.again)} --seed={c.sizes.seed}</code>"
    yield "sizes", f"{c.sizes.examples} examples a law{quick}, patience {c.sizes.patience:g} s"
    yield "machine", f"{escape(c.machine.system)}, {c.machine.cores} cores, Python {escape(c.machine.python)}"
    yield "took", f"{c.seconds:.0f} s"


def _broken(law: LawResult, again: str) -> Iterator[str]:
    yield f'<section class="law">\n<h3 class="broken"><code>{escape(law.id)}</code></h3>'
    yield f"<p>{rendered(law.sentence)}</p>"
    yield from _cited(law)
    if any(law.failed_cases):
        yield f"<p>For: {escape(', '.join(law.failed_cases))}</p>"
    yield f"<pre>{escape(law.counterexample)}</pre>\n<p>again: <code>{escape(again)}</code></p>\n</section>"


def _cited(law: LawResult) -> Iterator[str]:
    for citation in law.citations:
        place = escape(where(citation))
        yield f"<blockquote>{rendered(citation.words)} <span class=quiet>({place})</span></blockquote>"


def _not_judged(c: Certificate) -> Iterator[str]:
    by_reason = c.not_judged()
    if not by_reason:
        return
    count = counted(sum(map(len, by_reason.values())), "law")
    yield f'<h2>Not judged: {count}</h2>\n<table class="reasons">'
    for why, laws in by_reason.items():
        ids = " ".join(f"<code>{escape(law.id)}</code>" for law in laws)
        yield f'<tr><th scope="row">{len(laws)}</th><td>{escape(why)}<br><span class="quiet">{ids}</span></td></tr>'
    yield "</table>"


def _laws(c: Certificate) -> Iterator[str]:
    tried = [law for law in c.laws if law.cases]
    yield f"<h2>Laws tried: {len(tried)}</h2>\n<table>\n<thead><tr><th>law</th><th>result</th><th>cases</th>"
    yield "<th>seconds</th></tr></thead>\n<tbody>"
    for law in tried:
        kind = {KEPT: "kept", BROKEN: "broken"}.get(law.result, "other")
        cited = "".join(_cited(law))
        yield (
            f"<tr><td><code>{escape(law.id)}</code><br>{rendered(law.sentence)}{cited}</td>"
            f'<td class="{kind}">{_SHOWN.get(law.result, _NOT_JUDGED)}</td>'
            f'<td class="number">{law.cases}</td><td class="number">{law.seconds:.1f}</td></tr>'
        )
    yield "</tbody>\n</table>"
