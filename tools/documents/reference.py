"""The contract as a page for people: services, events, subscriptions, error reasons, messages and enums."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from ordersys.api.auth.v1 import access_pb2
from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract import access, descriptors, topology
from tools.documents import elements
from tools.documents.elements import short
from tools.documents.error_reasons import reasons

Comments = Mapping[str, str]
_INTRODUCTION = """# The contract

Derived from `proto/` by `nox -s codegen`. Rules go by the names [protovalidate](https://protovalidate.com) gives them;
those of this contract come last."""


def page(comments: Comments) -> str:
    """The page in Markdown; `comments` are those of all elements, by full name."""
    chapters = {
        "Services": [part for service in topology.grpc_services() for part in _service(service, comments)],
        "Rights": [comments[access_pb2.DESCRIPTOR.name], _rights(), _setters()],
        "Events": [*_files_of_events(comments), _events(comments)],
        "Subscriptions": [_subscriptions(comments)],
        "Error reasons": [comments[ErrorReason.DESCRIPTOR.full_name], _reasons(comments)],
        "Messages": [part for message in elements.messages() for part in _message(message, comments)],
        "Enums": [part for enum in elements.enums() for part in _enum(enum, comments)],
        "Rules": [_predefined(comments)],
    }
    parts = [part for title, texts in chapters.items() for part in (f"## {title}", *texts)]
    return "\n\n".join([_INTRODUCTION, *parts]) + "\n"


def _service(service: ServiceDescriptor, comments: Comments) -> Iterator[str]:
    yield f"### {short(service)}"
    yield comments[service.full_name]
    for method in service.methods:
        yield f"#### {elements.rpc_name(method)}"
        yield f"{_link(method.input_type)} → {_link(method.output_type)}"
        yield comments[method.full_name]


def _rights() -> str:
    rows = [_right(method) for service in topology.grpc_services() for method in service.methods]
    return _table(("RPC", *map(elements.role, elements.ROLES), "services", "a customer has to own"), rows)


def _right(method: MethodDescriptor) -> tuple[str, ...]:
    rights = access.access(method)
    services = ", ".join(f"`{name}`" for name in elements.services(rights))
    owned = rights.customer_field or rights.order_field
    roles = [_yes(number in rights.roles) for number in elements.ROLES]
    return (elements.rpc_name(method), *roles, services, f"`{owned}`" if owned else "")


def _setters() -> str:
    stated = [
        (f"`{short(field.containing_type)}.{field.name}`", ", ".join(elements.setters(field)))
        for field in elements.fields(descriptors.messages())
        if elements.setters(field)
    ]
    return _table(("field", "is set only by"), stated)


def _files_of_events(comments: Comments) -> Iterator[str]:
    """The comments of the files that have events: how these stand on the wire, and how often they come."""
    files = {event.file.name: None for event in topology.events().values()}
    yield from (comments[name] for name in files)


def _events(comments: Comments) -> str:
    published = [(event, topology.publication(event)) for event in topology.events().values()]
    rows = [
        (_link(event), f"`{p.exchange}`", f"`{p.routing_key}`", f"`{p.publisher}`", comments[event.full_name])
        for event, p in published
    ]
    return _table(("event", "exchange", "routing key", "published by", "meaning"), rows)


def _subscriptions(comments: Comments) -> str:
    services = topology.subscribers()
    subscriptions = [(comments[service.full_name], topology.subscription(service)) for service in services]
    rows = [
        (
            f"`{subscription.consumer}`",
            ", ".join(_link(topology.events()[name]) for name in subscription.handlers),
            f"`{subscription.exchange}`",
            f"`{subscription.queue}`",
            f"`{subscription.dead_letter_queue}`",
            f"`{subscription.replay_exchange}`",
            comment,
        )
        for comment, subscription in subscriptions
    ]
    return _table(("subscriber", "takes", "from exchange", "queue", "dead letters", "replayed to", "meaning"), rows)


def _reasons(comments: Comments) -> str:
    by_value = {name.rpartition(".")[2]: comment for name, comment in comments.items()}
    rows = [
        (f"`{name}`", f"`{reason.code}`", _yes(reason.retryable), _yes(reason.final), reason.message, by_value[name])
        for name, reason in reasons().items()
    ]
    return _table(("reason", "code", "repeat", "final", "text", "meaning"), rows)


def _yes(stated: bool) -> str:
    return "yes" if stated else ""


def _message(message: Descriptor, comments: Comments) -> Iterator[str]:
    yield f"### {short(message)}"
    yield comments[message.full_name]
    rows = [
        (f"{field.number}", f"`{field.name}`", _type(field), _rules(elements.rules(field)), comments[field.full_name])
        for field in message.fields
    ]
    yield _table(("no.", "field", "type", "rules", "meaning"), rows)
    if of_all := elements.rules(message):
        yield f"As a whole: {_rules(of_all)}"
    for oneof, has_to_be in elements.choices(message):
        most = "" if has_to_be else "at most "
        yield f"Of {', '.join(f'`{field.name}`' for field in oneof.fields)} {most}one is set."


def _enum(enum: EnumDescriptor, comments: Comments) -> Iterator[str]:
    yield f"### {short(enum)}"
    yield comments[enum.full_name]
    rows = [(f"{v.number}", f"`{v.name}`", comments[f"{enum.full_name}.{v.name}"]) for v in enum.values]
    yield _table(("no.", "value", "meaning"), rows)


def _predefined(comments: Comments) -> str:
    rows = [
        (f"`{name}`", comments[rule.full_name], f"`{cel}`" if cel else "") for rule, name, cel in elements.predefined()
    ]
    return _table(("rule", "meaning", "in CEL"), rows)


def _type(field: FieldDescriptor) -> str:
    return f"{elements.label(field)} {_kind(field)}".lstrip()


def _kind(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    return _link(kind) if kind else f"`{elements.scalar(field.type)}`"


def _rules(rules: Mapping[str, Any]) -> str:
    """A line for each rule: its name alone where it is on, with its values otherwise."""
    return "<br>".join(f"`{name}`" if value is True else f"`{name}` {_values(value)}" for name, value in rules.items())


def _link(kind: Any) -> str:
    """The name of a message or an enum, which leads to its heading where it is one of the contract."""
    if not elements.is_own(kind):
        return f"`{kind.full_name}`"
    return f"[`{kind.name}`](#{elements.anchor(short(kind))})"


def _values(value: Any) -> str:
    return ", ".join(f"`{part}`" for part in (value if isinstance(value, tuple) else (value,)))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), ["---" for _ in head], *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n\n", "<br>")
