"""Laws of every RPC of the contract, whatever it does: found in the descriptors, tried with what the rules allow."""

import re

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from hypothesis import assume, given
from hypothesis import strategies as st

from ordersys.contract import descriptors
from tests.contract import strategies
from tests.contract.effort import tried
from tests.contract.wire import ROLES, RPCS, Answer
from tests.contract.world import World

CASES = [(role, method) for role in ROLES for method in RPCS[role]]
every_rpc = pytest.mark.parametrize(("role", "method"), CASES, ids=[f"{role}-{method.name}" for role, method in CASES])
UNFORESEEN = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED)
LEAKS = re.compile(r"(?i)traceback|exception|\berror:|sqlite|sqlalchemy|\.py\b|/[a-z]+/|protobuf|descriptor")


def assert_proper(answer: Answer) -> None:
    """An answer the contract foresees, with nothing of the implementation in it."""
    assert answer.code not in UNFORESEEN, answer.status
    assert not LEAKS.search(answer.status.message), answer.status.message
    assert answer.code is grpc.StatusCode.OK or answer.reason, f"no reason of the contract: {answer.status}"


@every_rpc
@tried
@given(data=st.data())
def test_a_valid_request_never_ends_in_an_unforeseen_status(
    world: World, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Whatever keeps the rules is answered with OK or with a refusal of the contract."""
    request = data.draw(strategies.valid(method.input_type))
    assert_proper(world.wire.send(method, request.SerializeToString(), role))


@every_rpc
@tried
@given(data=st.data())
def test_a_broken_rule_is_answered_with_its_field(
    world: World, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """One broken rule is INVALID_ARGUMENT, INVALID_REQUEST, and names exactly that field and that rule."""
    broken = data.draw(strategies.invalid(method.input_type))
    answer = world.wire.send(method, broken.message.SerializeToString(), role)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert answer.fields == [(broken.field, broken.rule)]


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


@every_rpc
@tried
@given(data=st.data())
def test_garbage_is_answered_with_a_constant_text(
    world: World, role: str, method: MethodDescriptor, data: st.DataObject
) -> None:
    """Truncated, flipped, random, no UTF-8, nested too deep: UNDECODABLE_REQUEST, in the same words each time."""
    answer = world.wire.send(method, data.draw(garbage(method)), role)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE_REQUEST")
    assert_proper(answer)
    texts = _TEXTS.setdefault(role, answer.status.message)
    assert answer.status.message == texts


_TEXTS: dict[str, str] = {}
