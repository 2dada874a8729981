"""The certificate for the terminal: broken laws in full, everything else in few lines. Pure."""

from collections.abc import Iterable, Iterator

from tests.contract.harness.certificate import BROKEN, KEPT, LEFT_OUT, Certificate, LawResult, counted, where

_SHOWN_CASES = 6
_SHOWN_SUBJECTS = 6


def lines(certificate: Certificate) -> Iterator[str]:
    """The lines that are printed at the end of a run."""
    if certificate.interrupted:
        yield "INTERRUPTED: the run proves nothing"
    yield judged(certificate)
    for law in certificate.of(BROKEN):
        yield ""
        yield from _broken(law, certificate.repeat(law.id))
    yield from (f"\nTROUBLE {trouble}" for trouble in certificate.troubles)
    yield from _not_judged(certificate)
    tried = sum(law.cases > 0 for law in certificate.laws)
    kept, broken = len(certificate.of(KEPT)), len(certificate.of(BROKEN))
    partial = f"; partial: {certificate.left_out} of {len(certificate.laws)} left out" if certificate.partial else ""
    yield f"\n{counted(tried, 'law')} tried: {kept} kept, {broken} broken{partial}"


def judged(certificate: Certificate) -> str:
    """The subject in a line."""
    subject = certificate.subject
    around = [service.role for service in subject.services if service.kind == "ours"]
    if not subject.foreign:
        return "judged: our own services"
    named = f"{subject.title}: " if subject.name or subject.version else ""
    ours = f", with our own {', '.join(around)} around" if around else ""
    return f"judged: {named}{', '.join(map(str, subject.foreign))}{ours}"


def _broken(law: LawResult, again: str) -> Iterator[str]:
    yield f"BROKEN {law.id}"
    yield f"  the law: {law.sentence}"
    yield from (f"  the contract: {citation.words} ({where(citation)})" for citation in law.citations)
    if any(law.failed_cases):
        more = len(law.failed_cases) - _SHOWN_CASES
        yield f"  for: {', '.join(law.failed_cases[:_SHOWN_CASES])}{f' and {more} more' if more > 0 else ''}"
    yield from (f"  {line}" for line in law.counterexample.splitlines())
    yield f"  again: {again}"


def _not_judged(certificate: Certificate) -> Iterator[str]:
    by_reason = certificate.not_judged()
    by_reason.pop(LEFT_OUT, None)  # whoever chose laws knows
    if by_reason:
        yield f"\nnot judged here: {counted(sum(map(len, by_reason.values())), 'law')}"
        yield from (f"  {len(laws):3}  {why}: {_subjects(laws)}" for why, laws in by_reason.items())
    if certificate.durability not in ("", LEFT_OUT):
        yield f"\ndurability was not judged: {certificate.durability}"


def _subjects(laws: Iterable[LawResult]) -> str:
    """The modules the laws stand in; a single law by its id."""
    ids = [law.id for law in laws]
    if len(ids) == 1:
        return ids[0]
    subjects = list(dict.fromkeys(law.partition("/")[0] for law in ids))
    return ", ".join([*subjects[:_SHOWN_SUBJECTS], *(["…"] if len(subjects) > _SHOWN_SUBJECTS else [])])
