"""Ids, traces, times and pauses."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from ordersys.contract.times import microseconds, timestamp
from ordersys.runtime.base import ids
from ordersys.runtime.base.backoff import jittered_backoff

TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
NOTHING, TRACE, SPAN = "0" * 32, "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
# What a UUID of version 7 has room for: 48 bits of milliseconds, to the year 10889.
MILLISECONDS = st.integers(0, 2**48 - 1)
# What a Timestamp may hold: the years 1 to 9999.
MICROSECONDS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def id_at(milliseconds: int) -> str:
    """A UUID made at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ordersys.runtime.base.ids.time.time_ns", lambda: milliseconds * 1_000_000)
        return ids.uuid7()


@given(MILLISECONDS)
def test_an_id_is_a_uuid_of_version_7_that_tells_its_time(milliseconds: int) -> None:
    """RFC 9562 §5.7, in lower case: the time in the first 48 bits, version and variant in their places."""
    made = id_at(milliseconds)
    parsed = uuid.UUID(made)
    assert str(parsed) == made
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == milliseconds


@given(st.lists(MILLISECONDS, unique=True, max_size=20))
def test_ids_sort_by_time(times: list[int]) -> None:
    """As texts, so that new rows land together in an index."""
    made = {id_at(time): time for time in times}
    assert [made[name] for name in sorted(made)] == sorted(times)


def test_ids_of_one_moment_differ() -> None:
    """74 random bits each."""
    assert len({id_at(1_790_000_000_000) for _ in range(10_000)}) == 10_000


def test_now_is_in_microseconds() -> None:
    """Of UTC."""
    apart = abs(EPOCH + timedelta(microseconds=ids.now()) - datetime.now(UTC))
    assert apart < timedelta(minutes=1)


def test_a_trace_context_goes_on() -> None:
    """The trace context of a caller is kept as it stands, sampled or not."""
    for flags in ("00", "01"):
        assert ids.traceparent(f"00-{TRACE}-{SPAN}-{flags}") == f"00-{TRACE}-{SPAN}-{flags}"


@given(
    st.integers(0, 0xFE),
    st.integers(0, 0xFF),
    st.one_of(st.just(""), st.text(st.characters(max_codepoint=255)).map("-{}".format)),
)
def test_a_trace_context_of_a_later_version_goes_on_as_version_00(version: int, flags: int, more: str) -> None:
    """With the same ids; of the flags only whether it is sampled, of the rest nothing (W3C Trace Context §4.3)."""
    given = f"{version:02x}-{TRACE}-{SPAN}-{flags:02x}{more if version else ''}"
    assert ids.traceparent(given) == f"00-{TRACE}-{SPAN}-{flags & 1:02x}"


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"bytes",
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"ff-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01-more",
        f"FE-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN.upper()}-01",
        f"01-{TRACE}-{SPAN}-01.more",
        f"01-{TRACE}-{SPAN}-01\n",
        f"01-{TRACE}-{SPAN}-0",
        f"01-{TRACE}-{SPAN}",
        f"01-{NOTHING}-{SPAN}-01-more",
        f"1-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        "00-" + "\N{ARABIC-INDIC DIGIT ONE}" * 32 + f"-{SPAN}-01",
        f"00-{NOTHING}-{SPAN}-01",
        f"00-{TRACE}-{NOTHING[:16]}-01",
    ],
)
def test_what_is_no_trace_context_begins_a_new_one(given: object) -> None:
    """Not sampled, and new each time (W3C Trace Context §3.2: ids of zeros only are invalid)."""
    first, other = ids.traceparent(given), ids.traceparent(given)
    assert first != other
    for trace in (first, other):
        assert TRACEPARENT.fullmatch(trace)
        assert trace.endswith("-00")
        assert trace != given


@given(st.text())
def test_any_text_gives_a_trace_context(text: str) -> None:
    """Metadata of any content does."""
    assert TRACEPARENT.fullmatch(ids.traceparent(text))


@given(MICROSECONDS)
def test_a_time_comes_back_from_the_wire(time: int) -> None:
    """Microseconds -> Timestamp -> microseconds, before 1970 too."""
    assert microseconds(timestamp(time)) == time


@given(MICROSECONDS)
def test_a_timestamp_is_the_moment_it_was_made_of(time: int) -> None:
    """As the standard library counts, with nanos that are never negative."""
    made = timestamp(time)
    assert 0 <= made.nanos < 10**9
    assert made.ToDatetime(UTC) == EPOCH + timedelta(microseconds=time)


@given(MICROSECONDS, st.integers(0, 999))
def test_finer_times_are_rounded_down(time: int, nanos: int) -> None:
    """To the microsecond below."""
    made = timestamp(time)
    assert microseconds(Timestamp(seconds=made.seconds, nanos=made.nanos + nanos)) == time


@given(st.floats(0.001, 10), st.floats(1, 1000))
def test_pauses_double_to_their_limit(first: float, factor: float) -> None:
    """Each is drawn from the upper half of what is allowed, and never goes above the limit."""
    most = first * factor
    for number, pause in enumerate(islice(jittered_backoff(first, most), 20)):
        allowed = min(first * 2**number, most)
        assert allowed / 2 <= pause <= allowed


def test_pauses_of_many_do_not_meet() -> None:
    """Two that began together drift apart."""
    assert list(islice(jittered_backoff(), 5)) != list(islice(jittered_backoff(), 5))


def test_pauses_without_a_wish_stay_below_five_seconds() -> None:
    """From a tenth of a second on, for ever."""
    pauses = list(islice(jittered_backoff(), 100))
    assert pauses[0] <= 0.1
    assert min(pauses[10:]) >= 2.5
    assert max(pauses) <= 5.0
