"""Tests of how the contract is written (AIP-155, AIP-158, AIP-191, AIP-192, AIP-193)."""

import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumValueDescriptor, FieldDescriptor, MethodDescriptor
from google.rpc.code_pb2 import Code

from buf.validate import validate_pb2
from ordersys.api.amqp.v1 import topology_pb2
from ordersys.api.auth.v1 import access_pb2
from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.error.v1 import error_reason_pb2
from ordersys.contract import access, descriptors, topology
from tests.compat.image import contract, things

SERVED = [s for s in descriptors.services() if not s.GetOptions().HasExtension(topology_pb2.subscription)]
METHODS = [method for service in SERVED for method in service.methods]
READING = ("Get", "List")
CHANGING = [method for method in METHODS if not method.name.startswith(READING)]
LISTING = [method for method in METHODS if method.name.startswith("List")]
REQUESTS = [method.input_type for method in METHODS]
REASONS = error_reason_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values
PROTO = Path(__file__).parent.parent.parent / "proto"
PROTOS = sorted(PROTO.rglob("*.proto"))
ENUMS = [enum for file in descriptors.files() for enum in file.enum_types_by_name.values()]


def name(value: object) -> str:
    """The name of a case; the same in every process, so that tests can be distributed."""
    return str(getattr(value, "full_name", "") or getattr(value, "name"))  # noqa: B009 - of several types


def rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The rules of a field."""
    return field.GetOptions().Extensions[validate_pb2.field]


def request_of(method: MethodDescriptor) -> Descriptor:
    """The request of one change; a batch holds several."""
    several = method.input_type.fields_by_name.get("requests")
    return several.message_type if several and several.message_type else method.input_type


def test_there_is_a_contract_to_speak_of() -> None:
    """The laws below are about something."""
    assert len(SERVED) == 4
    assert len(METHODS) >= 16
    assert len(list(things())) > 200


def test_everything_with_a_name_has_a_comment() -> None:
    """Every file, message, field, enum value, option and RPC says what it means (AIP-192)."""
    assert [entry for entry in things() if len(entry.comment.split()) < 2] == []


@pytest.mark.parametrize("file", contract(), ids=name)
def test_the_directory_of_a_file_is_its_package(file: object) -> None:
    """And its package ends with a version (AIP-191)."""
    path, package = file.name, file.package  # type: ignore[attr-defined]
    assert path.rpartition("/")[0] == package.replace(".", "/")
    assert re.search(r"\.v[1-9]\d*$", package)


@pytest.mark.parametrize("path", PROTOS, ids=lambda path: str(path.relative_to(PROTO)))
def test_every_file_is_written_for_every_parser(path: Path) -> None:
    """No extension inside braces, such as `{[a.b]: true}`, which protobufjs 7 refuses; `.(a.b) = true` is the same."""
    assert re.findall(r"^.*\[\w+(?:\.\w+)+\]\s*:.*$", path.read_text(encoding="utf-8"), re.MULTILINE) == []


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_every_rpc_has_a_request_and_a_response_of_its_own(method: MethodDescriptor) -> None:
    """So that each can grow alone."""
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"


@pytest.mark.parametrize("method", CHANGING, ids=name)
def test_every_changing_call_carries_a_required_request_id(method: MethodDescriptor) -> None:
    """A UUID, so that a repeat has no second effect (AIP-155)."""
    field = request_of(method).fields_by_name["request_id"]
    assert field.type == FieldDescriptor.TYPE_STRING
    assert rules(field).string.uuid


@pytest.mark.parametrize("method", LISTING, ids=name)
def test_every_list_comes_in_pages(method: MethodDescriptor) -> None:
    """page_size and page_token in, next_page_token out (AIP-158)."""
    assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
    assert "next_page_token" in method.output_type.fields_by_name


def unbounded(message: Descriptor, seen: frozenset[str] = frozenset()) -> list[str]:
    """The fields of a request that may grow without a limit of the contract."""
    names = [field.full_name for field in message.fields if not bounded(field)]
    nested = [field.message_type for field in message.fields if field.message_type]
    for kind in nested:
        if kind.full_name not in seen | {"google.type.Money"}:
            names += unbounded(kind, seen | {message.full_name})
    return names


def bounded(field: FieldDescriptor) -> bool:
    """True if a list or a text has an upper bound: its own, that of UUIDs, of a pattern or a predefined rule."""
    if field.is_repeated:
        return bool(rules(field).repeated.max_items)
    text = rules(field).string
    ends = re.fullmatch(r"\^[^*+]*\$", text.pattern) is not None
    stated = text.max_len or text.max_bytes or text.uuid or text.const or list(text.Extensions)
    return bool(field.type != FieldDescriptor.TYPE_STRING or stated or ends)


@pytest.mark.parametrize("request_type", REQUESTS, ids=name)
def test_every_request_is_bounded(request_type: Descriptor) -> None:
    """Each text and each list has an upper limit in the contract."""
    assert unbounded(request_type) == []


@pytest.mark.parametrize("enum", ENUMS, ids=name)
def test_every_enum_begins_with_unspecified(enum: object) -> None:
    """Zero means that nothing was said (AIP-126)."""
    zero = enum.values_by_number[0].name  # type: ignore[attr-defined]
    assert zero.endswith("_UNSPECIFIED")


@pytest.mark.parametrize("reason", REASONS[1:], ids=name)
def test_every_reason_has_a_code_and_a_message(reason: EnumValueDescriptor) -> None:
    """A canonical code that is an error, and a sentence that names no part of an implementation (AIP-193)."""
    stated = reason.GetOptions().Extensions[error_reason_pb2.refusal]
    assert stated.code not in (Code.OK, Code.UNKNOWN)
    assert stated.message.endswith(".")
    assert not re.search(r"(?i)sql|python|pika|grpc|exception|[/\\]", stated.message)
    assert stated.retryable == (stated.code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED))


@pytest.mark.parametrize("reason", REASONS[1:], ids=name)
def test_a_reason_is_final_or_worth_a_repeat_or_a_bug(reason: EnumValueDescriptor) -> None:
    """A client told to repeat is not told that nothing comes of it; of a bug nobody knows what it left.

    Nor of a request whose caller is refused: an earlier try may have been his while he was still known.
    """
    stated = reason.GetOptions().Extensions[error_reason_pb2.refusal]
    is_in_doubt = stated.code in (Code.INTERNAL, Code.UNAUTHENTICATED, Code.PERMISSION_DENIED)
    assert [stated.retryable, stated.final, is_in_doubt].count(True) == 1


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_every_rpc_says_who_may_call_it(method: MethodDescriptor) -> None:
    """Somebody, by names that exist; what a customer has to own is a field of the request, or of each of a batch."""
    rights = access.access(method)
    assert rights.roles | rights.services
    assert rights.services <= set(access.service_ids().values())
    assert Role.ROLE_UNSPECIFIED not in rights.roles
    owned = [field for field in (rights.customer_field, rights.order_field) if field]
    assert set(owned) <= set(request_of(method).fields_by_name)
    has_owner = {"customer_id", "order_id"} & set(request_of(method).fields_by_name)
    assert bool(owned) == bool(has_owner and Role.ROLE_CUSTOMER in rights.roles)


def test_only_fields_that_say_whether_they_are_set_are_for_some_to_set() -> None:
    """And they stand in the request itself: nothing is looked for deeper (contract/access.py)."""
    fields = [field for message in descriptors.messages() for field in message.fields]
    stated = [field for field in fields if field.GetOptions().HasExtension(access_pb2.setters)]
    assert stated
    assert [field.full_name for field in stated if not field.has_presence] == []
    requests = [request_of(method) for method in METHODS]
    assert [field.full_name for field in stated if field.containing_type not in requests] == []


@pytest.mark.parametrize("event", topology.events().values(), ids=name)
def test_events_are_past_participles(event: Descriptor) -> None:
    """An event is a fact: something that happened."""
    assert event.name.endswith("ed")
    assert event.file.name.endswith("_events.proto")


def test_a_rule_says_the_same_wherever_it_stands() -> None:
    """CEL rules of one id have one expression and one message: nothing states a contract fact twice differently."""
    fields = [field for message in descriptors.messages() for field in message.fields]
    stated: dict[str, set[tuple[str, str]]] = {}
    for rule in [rule for field in fields for rule in rules(field).cel]:
        stated.setdefault(rule.id, set()).add((rule.expression, rule.message))
    assert stated
    assert {rule_id: len(forms) for rule_id, forms in stated.items() if len(forms) > 1} == {}
