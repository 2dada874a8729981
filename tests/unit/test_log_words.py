"""Words in a log that grows are found wherever a look cuts it, and no look reads more than is new."""

from pathlib import Path

import pytest

from ordersys.local import log_words
from ordersys.local.log_words import LogWords

WORDS = ("eaddrinuse", "in use")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that is not there yet."""
    return tmp_path / "node.log"


def append(log: Path, text: str) -> None:
    """Writes more of it."""
    with log.open("a", encoding="utf-8") as file:
        file.write(text)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_found_wherever_a_look_cuts_it(tmp_path: Path, word: str) -> None:
    """Also where each look finds a single character more."""
    for cut in range(1, len(word)):
        log = tmp_path / f"{cut}.log"
        words = LogWords(log, WORDS)
        append(log, f"é {word[:cut]}")
        assert not words.are_there()
        append(log, f"{word[cut:]} é")
        assert words.are_there()
    slow = LogWords(tmp_path / "slow.log", WORDS)
    seen = []
    for character in word:
        append(tmp_path / "slow.log", character)
        seen.append(slow.are_there())
    assert seen == [False] * (len(word) - 1) + [True]


def test_words_of_an_earlier_start_do_not_count(log: Path) -> None:
    """Nor does a word that begins in what was written then."""
    append(log, "eaddrinuse, eaddr")
    words = LogWords(log, WORDS)
    append(log, "inuse")
    assert not words.are_there()


def test_a_log_that_is_gone_says_nothing_and_no_word_is_unsaid(log: Path) -> None:
    """It may be gone when somebody looks again."""
    words = LogWords(log, WORDS)
    assert not words.are_there()
    append(log, "eaddrinuse")
    assert words.are_there()
    log.unlink()
    assert words.are_there()


def test_a_look_reads_no_more_than_its_limit_and_the_next_goes_on(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word behind much else is found by a later look."""
    monkeypatch.setattr(log_words, "_MOST", 8)
    words = LogWords(log, WORDS)
    append(log, "." * 20 + "eaddrinuse")
    assert [words.are_there() for _ in range(4)] == [False, False, False, True]
    assert words._position == len("." * 20 + "eaddrinuse")
