"""The laws of the contract suite, as a list for people."""

from collections import Counter

from tests.contract.harness.client import ROLES
from tests.contract.harness.law_index import PAGE, laws, page, unproven

MEANS = {*ROLES, "broker", "proxy", "restart", "stand-in", "identities", "users", "declarers", "in-clear"}
HANDFUL = 7


def test_the_page_has_the_laws_there_are() -> None:
    """Else: python -m tests.contract.laws."""
    text = PAGE.read_text(encoding="utf-8")
    assert set(page(text).splitlines()) ^ set(text.splitlines()) == set()
    assert page(text) == text


def test_every_law_is_a_sentence_under_a_name_of_its_own() -> None:
    """And says what it needs by names the suite knows."""
    known = list(laws())
    assert [law for law, times in Counter(law.id for law in known).items() if times > 1] == []
    for law in known:
        assert law.sentence.endswith("."), law
        assert law.needs | set(law.roles) <= MEANS, law


def test_what_a_law_cites_stands_in_the_contract() -> None:
    """Word for word, in the file that it names."""
    lost = [(law.id, citation) for law in laws() for citation in law.citations if not citation.stands]
    assert lost == []


def test_every_law_proves_a_sentence_of_the_contract() -> None:
    """Else whoever builds a service from documents alone can't know it: write the sentence, then cite it."""
    assert [law.id for law in laws() if not law.citations] == []


def test_no_sentence_stands_for_all_laws() -> None:
    """One that many laws prove says nothing of any of them: each law cites what is said about its own subject."""
    cited = Counter(citation for law in laws() for citation in law.citations)
    assert [citation for citation, times in cited.items() if times > HANDFUL] == []
    assert [citation for citation in cited if len(citation.words.split()) < 3] == []


def test_a_rule_that_no_law_proves_says_so() -> None:
    """Marked `not judged` on the page: nobody takes for certified what no law looks at."""
    assert unproven() == []


def test_every_service_has_laws() -> None:
    """By name or as one of several."""
    assert {role for law in laws() for role in (*law.needs, *law.roles)} >= set(ROLES)
