"""The table of dead letters: everything is kept once, listed in order, and found by its id, however many there are."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ordersys.contract.events import MAXIMUM_BYTES
from ordersys.notification_service.inbox import DEAD_LETTERS, schema
from ordersys.runtime.dead_letters import Named, ReplayRoute, letter_id, portions, put_back
from ordersys.runtime.rabbitmq.messages import AmqpDelivery, Message, received
from ordersys.runtime.storage.database import Database
from tests.contract.harness.amqp_properties import counted, encoded, entry, short

MANY = 70_000
FULL = 500


def dead(number: int, body: bytes = b"x", count: int = 0, redelivered: bool = False) -> AmqpDelivery:
    """A delivery of a dead letter; the broker counts on it how often it was delivered."""
    counts = entry(b"x-delivery-count", b"l" + count.to_bytes(8)) if count else b""
    properties = encoded({"headers": counted(counts + entry(b"h", b"V")), "message_id": short(b"%d" % number)})
    message = received(properties, body)
    return AmqpDelivery(message.message_id, None, None, body, redelivered, properties)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A new database of a notification service."""
    opened = await Database.open(tmp_path / "t.db", schema("tests"))
    yield opened
    await opened.close()


async def numbers(database: Database, size: int = FULL) -> list[int]:
    """The numbers of the letters that are kept, page by page."""
    kept: list[int] = []
    after, more = 0, True
    while more:
        letters, more = await database.read(DEAD_LETTERS.page, after, size)
        kept += [int(str(letter.delivery.message_id)) for letter in letters]
        after = letters[-1].sequence if letters else after
    return kept


async def test_more_are_kept_than_a_prefetch_can_hold(database: Database) -> None:
    """Listed in the order in which they came, page by page, to the last."""
    await database.write(DEAD_LETTERS.keep, [dead(number) for number in range(MANY)])
    assert await numbers(database) == list(range(MANY))


async def test_one_that_comes_again_is_kept_once(database: Database) -> None:
    """The process that kept it died before the broker knew: its properties differ only in what the broker counts."""
    await database.write(DEAD_LETTERS.keep, [dead(1)])
    await database.write(DEAD_LETTERS.keep, [dead(1, count=1, redelivered=True), dead(2, count=1, redelivered=True)])
    assert await numbers(database) == [1, 2]


async def test_copies_are_kept_each_for_itself(database: Database) -> None:
    """They have one id."""
    await database.write(DEAD_LETTERS.keep, [dead(1), dead(1), dead(2)])
    copies = await database.read(DEAD_LETTERS.named, {letter_id(dead(1))})
    assert [(letter.letter_id, letter.size) for letter in copies] == [(letter_id(dead(1)), 1)] * 2


async def test_a_large_body_is_kept_whole_and_listed_in_part(database: Database) -> None:
    """No more of it is read than says that it is too large."""
    body = bytes(range(256)) * (MAXIMUM_BYTES // 128)
    await database.write(DEAD_LETTERS.keep, [dead(1, body)])
    ((letter,), more) = await database.read(DEAD_LETTERS.page, 0, FULL)
    assert (letter.size, letter.delivery.body, more) == (len(body), body[: MAXIMUM_BYTES + 1], False)
    (copy,) = await database.read(DEAD_LETTERS.copies, [letter.sequence], ReplayRoute("exchange", "queue", ""))
    assert isinstance(copy, Message)
    assert (copy.body, copy.exchange, copy.routing_key) == (body, "exchange", "queue")


async def test_pages_of_large_ones_are_shorter(database: Database) -> None:
    """The bytes read at a time are bounded; none is left out."""
    await database.write(DEAD_LETTERS.keep, [dead(number, b"x" * MAXIMUM_BYTES) for number in range(100)])
    (letters, more) = await database.read(DEAD_LETTERS.page, 0, FULL)
    assert 0 < len(letters) < 100
    assert more
    assert await numbers(database) == list(range(100))


@pytest.mark.parametrize("sizes", [[], [1], [1, 2, 3], [2**24] * 3, [2**30, 1], [1, 2**30, 1]])
def test_as_many_are_put_back_at_a_time_as_may_be_held(sizes: list[int]) -> None:
    """All in order, at least one at a time, however large it is."""
    letters = [Named(number, "", size) for number, size in enumerate(sizes)]
    parts = portions(letters)
    assert [letter for portion in parts for letter in portion] == letters
    assert all(len(portion) == 1 or sum(letter.size for letter in portion) <= 2**24 for portion in parts)


async def test_one_whose_publisher_can_not_be_named_is_not_put_back(database: Database) -> None:
    """Its headers are no table: that is the reason, and nothing is published; else it is copied."""
    raw = encoded({"headers": counted(b"\xff"), "message_id": short(b"odd")})
    await database.write(DEAD_LETTERS.keep, [received(raw, b"body"), dead(2)])
    sequences = [letter.sequence for letter in (await database.read(DEAD_LETTERS.page, 0, FULL))[0]]
    odd, fine = await database.read(DEAD_LETTERS.copies, sequences, ReplayRoute("exchange", "queue", "me"))
    assert isinstance(fine, Message)
    (reason,) = await put_back((), "nobody connects", [odd])
    assert "its copy can't be made" in reason
    (copied, _) = await database.read(DEAD_LETTERS.copies, sequences, ReplayRoute("exchange", "queue", ""))
    assert isinstance(copied, Message)
    assert b"".join(copied.properties.encode()) == raw
