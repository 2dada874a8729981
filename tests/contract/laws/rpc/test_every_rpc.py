"""Laws of every RPC of the contract, whatever it does: found in the descriptors, tried with what the rules allow."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import DecodeError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ordersys.contract import descriptors
from tests.contract.harness import invalid_messages, strategies
from tests.contract.harness.client import ROLES, RPCS, Answer
from tests.contract.harness.examples import share, with_examples
from tests.contract.harness.system_under_test import SystemUnderTest

CASES = [(role, method) for role in ROLES for method in RPCS[role]]
every_rpc = pytest.mark.parametrize(("role", "method"), CASES, ids=[f"{role}-{method.name}" for role, method in CASES])
NO_REQUEST = ("UNDECODABLE_REQUEST", "INVALID_REQUEST")
UNFORESEEN = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED)
LEAKS = re.compile(r"(?i)traceback|exception|\berror:|sqlite|sqlalchemy|\.py\b|/[a-z]+/|protobuf|descriptor")


def assert_proper(answer: Answer) -> None:
    """An answer the contract foresees, with nothing of the implementation in it."""
    assert answer.code not in UNFORESEEN, str(answer)
    assert not LEAKS.search(answer.status.message), answer.status.message
    assert answer.code is grpc.StatusCode.OK or answer.reason, f"no reason of the contract: {answer}"


@pytest.mark.cites(
    "implement.md",
    "A valid request is answered with OK or with a reason of the contract, and never with UNKNOWN",
)
@pytest.mark.cites("implement.md", "Never let anything of the implementation out: no class name, no path, no SQL.")
@every_rpc
@with_examples
@given(data=st.data())
def test_a_valid_request_never_ends_in_an_unforeseen_status(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Whatever keeps the rules is answered with OK or with a refusal of the contract, but not for a broken rule."""
    request = data.draw(strategies.valid(method.input_type))
    answer = system.client.send(method, request.SerializeToString(), role)
    assert_proper(answer)
    assert answer.reason not in NO_REQUEST, f"{answer}: {answer.fields}"


@pytest.mark.cites(
    "implement.md", "the path of the field as protovalidate writes it: names as in the .proto, indices from 0"
)
@pytest.mark.cites("implement.md", "BadRequest, field of a oneof without a member | the name of the oneof")
@pytest.mark.cites("implement.md", "protovalidate evaluates them by itself, if the file is compiled in")
@pytest.mark.cites(
    "implement.md", "A request that breaks one is INVALID_REQUEST with, for each violation, the path of the field"
)
@pytest.mark.cites("error_reason.proto", "field is the path as protovalidate writes it")
@pytest.mark.cites("implement.md", "the id of the rule as protovalidate reports it")
@every_rpc
@with_examples
@given(data=st.data())
def test_a_broken_rule_is_answered_with_its_field(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """One broken rule is INVALID_ARGUMENT, INVALID_REQUEST, and names exactly that field and that rule."""
    broken = data.draw(strategies.invalid(method.input_type))
    answer = system.client.send(method, broken.message.SerializeToString(), role)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert answer.fields == [(broken.field, broken.rule)]


def assert_broken(answer: Answer, *violations: tuple[str, str]) -> None:
    """INVALID_REQUEST that names these fields and rules and no others, in whatever order."""
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), str(answer)
    assert sorted(answer.fields) == sorted(violations)


def having(breakages: Callable[[Descriptor], Sequence[Any]]) -> pytest.MarkDecorator:
    """A case for each RPC whose request has such breakages."""
    cases = [(role, method) for role, method in CASES if breakages(method.input_type)]
    return pytest.mark.parametrize(("role", "method"), cases, ids=[f"{role}-{method.name}" for role, method in cases])


some_examples = settings(settings.get_profile("contract"), max_examples=share(8))


@pytest.mark.cites(
    "implement.md", "A rule holds for every entry of a list, and for every request of a batch, to the last."
)
@having(strategies.late_breakages)
@some_examples
@given(data=st.data())
def test_a_rule_holds_to_the_end_of_the_longest_list(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Broken in the last entry of a list that is as long as it may be, or by a product that the first has, too."""
    for ways in strategies.late_breakages(method.input_type):
        breakage = data.draw(st.sampled_from(ways))
        broken = data.draw(strategies.broken(method.input_type, breakage, late=True))
        assert_broken(system.client.send(method, broken.message.SerializeToString(), role), (broken.field, broken.rule))


@pytest.mark.cites(
    "implement.md", "A request that breaks one is INVALID_REQUEST with, for each violation, the path of the field"
)
@having(invalid_messages.pairs)
@some_examples
@given(data=st.data())
def test_each_broken_rule_is_named(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Of two in different fields, and of two requests of a batch, both are answered at once."""
    broken = data.draw(strategies.broken_twice(method.input_type))
    answer = system.client.send(method, broken[0].message.SerializeToString(), role)
    assert_broken(answer, *((each.field, each.rule) for each in broken))


@pytest.mark.cites("implement.md", "A field with presence that is 0 has a value, and is judged by its rules.")
@having(invalid_messages.explicit_zeros)
@some_examples
@given(data=st.data())
def test_an_explicit_zero_is_a_value(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """It breaks the rule of its field, and does not count as if it had been left out."""
    for breakage in invalid_messages.explicit_zeros(method.input_type):
        broken = data.draw(strategies.broken(method.input_type, breakage))
        assert_broken(system.client.send(method, broken.message.SerializeToString(), role), (broken.field, broken.rule))


@pytest.mark.cites("implement.md", "`$` ends the text; a line break before it is one letter too many.")
@having(invalid_messages.line_breaks)
@some_examples
@given(data=st.data())
def test_a_line_break_at_the_end_breaks_the_rule(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Of every UUID, slug and trace context, whatever `$` means in the language of the service."""
    for breakage in invalid_messages.line_breaks(method.input_type):
        broken = data.draw(strategies.broken(method.input_type, breakage))
        assert_broken(system.client.send(method, broken.message.SerializeToString(), role), (broken.field, broken.rule))


@pytest.mark.cites("implement.md", "any hexadecimal digits: a UUID of any version or variant, nil and max as well")
@having(invalid_messages.uuid_fields)
@some_examples
@given(data=st.data())
def test_a_uuid_may_be_of_any_version(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Of no version and no variant that RFC 9562 knows, nil, the largest: none breaks the rule."""
    request = data.draw(strategies.valid(method.input_type))
    for value in invalid_messages.UUIDS:
        for field in invalid_messages.uuid_fields(method.input_type):
            setattr(request, field.name, value)
        answer = system.client.send(method, request.SerializeToString(), role)
        assert_proper(answer)
        assert answer.reason not in NO_REQUEST, f"{answer}: {answer.fields}"


NUMBERS = [0, 1, 2, 99, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
TEXTS = [
    b"",
    b"\x00",
    b"a\x00b",
    b"\xc3\xbc",
    b"6F1A2E0C-58F4-4C6E-9E0B-7A1D2C3B4E5F",
    b"1_0",
    b"9" * 400,
    b"\x08\x01",
    b"\x0a\x00",
]


def varint(value: int) -> bytes:
    """A number as it stands on the wire."""
    more = bytearray()
    while value > 0x7F:
        more.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*more, value])


@st.composite
def odd_field(draw: st.DrawFn, numbers: list[int]) -> bytes:
    """A field of one of these numbers, of any wire type: large numbers, texts with NUL, messages without bytes."""
    number = draw(st.sampled_from(numbers))
    kind = draw(st.sampled_from([0, 1, 2, 3, 5]))
    tag = varint(number << 3 | kind)
    if kind == 0:
        return tag + varint(draw(st.sampled_from(NUMBERS)))
    if kind == 2:
        inner = draw(st.sampled_from(TEXTS) | odd_field(numbers) | st.binary(max_size=12))
        return tag + varint(len(inner)) + inner
    if kind == 3:
        return tag + varint(number << 3 | 4)
    return tag + draw(st.binary(min_size=8, max_size=8))[: 8 if kind == 1 else 4]


@pytest.mark.cites("implement.md", "A known field with another wire type is an unknown field: it is skipped")
@pytest.mark.cites(
    "implement.md",
    "A field that comes twice has its last value; a message that comes twice is merged",
)
@every_rpc
@with_examples
@given(data=st.data())
def test_whatever_stands_on_the_wire_is_answered_as_the_contract_foresees(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Fields twice, all members of a oneof, other wire types, unknown numbers: OK or a refusal of the contract.

    A later field replaces an earlier one or merges with it, and one of another wire type is unknown (protobuf).
    """
    own = [field.number for field in method.input_type.fields]
    body = data.draw(strategies.valid(method.input_type)).SerializeToString()
    odd = data.draw(st.lists(odd_field([*own, 15, 1000, 2**29 - 1] if own else [1, 15]), min_size=1, max_size=4))
    again = data.draw(st.sampled_from([b"", body]))
    assert_proper(system.client.send(method, b"".join(data.draw(st.permutations([body, again, *odd]))), role))


@st.composite
def garbage(draw: st.DrawFn, method: MethodDescriptor) -> bytes:
    """Bytes that are no message of the type a call takes."""
    body = draw(strategies.valid(method.input_type)).SerializeToString()
    spoiled = draw(st.sampled_from([_truncated, _flipped, _random, _deep, _no_text]))(draw, body)
    try:
        descriptors.message_class(method.input_type).FromString(spoiled)
    except DecodeError:
        return spoiled
    assume(False)
    raise AssertionError


def _truncated(draw: st.DrawFn, body: bytes) -> bytes:
    return body[: draw(st.integers(0, max(len(body) - 1, 0)))]


def _flipped(draw: st.DrawFn, body: bytes) -> bytes:
    spoiled = bytearray(body or b"\xff")
    for position in draw(st.lists(st.integers(0, len(spoiled) * 8 - 1), min_size=1, max_size=8)):
        spoiled[position // 8] ^= 1 << position % 8
    return bytes(spoiled)


def _random(draw: st.DrawFn, body: bytes) -> bytes:
    return draw(st.binary(min_size=1, max_size=200))


def _deep(draw: st.DrawFn, body: bytes) -> bytes:
    """Groups nested deeper than any parser follows."""
    return body + b"\x0b" * draw(st.integers(150, 1000))


def _no_text(draw: st.DrawFn, body: bytes) -> bytes:
    """A field 1 of some length that is no UTF-8, where a text or a message belongs."""
    text = draw(st.sampled_from([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"ok\xfe", b"\xf4\x90\x80\x80"]))
    return body + b"\x0a" + bytes([len(text)]) + text


@pytest.mark.cites(
    "implement.md", "Bytes that are no message of the type are UNDECODABLE_REQUEST, always in the same words."
)
@pytest.mark.cites("implement.md", "These bytes are no message: a length or a number that goes on beyond the end")
@pytest.mark.cites(
    "error_reason.proto", "The bytes are no message of the type this call takes, or the call ended without one."
)
@every_rpc
@with_examples
@given(data=st.data())
def test_garbage_is_answered_with_a_constant_text(
    system: SystemUnderTest, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Truncated, flipped, random, no UTF-8, nested too deep: UNDECODABLE_REQUEST, in the same words each time."""
    answer = system.client.send(method, data.draw(garbage(method)), role)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE_REQUEST")
    assert_proper(answer)
    # Of another RPC of the service, for a tag that has no end.
    other = system.client.send(RPCS[role][0], b"\xff", role)
    assert answer.status.message == other.status.message
