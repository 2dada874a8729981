"""Rules that became stricter, and whom they break: clients, consumers of events, or services by their replies."""

from collections.abc import Callable, Iterator

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from ordersys.contract import descriptors
from ordersys.contract.descriptors import Files
from ordersys.contract.rules import rules_of
from ordersys.contract.topology import events, grpc_services
from ordersys.contract.validation import violations
from tools.compat.changes import pairs
from tools.compat.strictness import tightened

_CLIENTS = "Clients that send {} are refused from now on."
_CONSUMERS = "Consumers send events published with {} to the dead letters from now on."
_SERVICES = "Services that answer {} break the contract from now on."


def findings(released: Files, current: Files) -> Iterator[str]:
    """A sentence for each rule that became stricter, and each group it breaks."""
    sentences = _audience(current)
    validator = protovalidate.Validator()
    for old, new in pairs(_messages(released), _messages(current)):
        for refused in (*_stricter(old, new), *_missing(old, new, validator)):
            yield from (sentence.format(refused) for sentence in sentences(new))
    for before, now in pairs(_predefined(released), _predefined(current)):
        for refused in tightened(rules_of(before), rules_of(now)):
            yield _CLIENTS.format(f"a field with the rule {now.full_name} {refused}")


def _audience(of: Files) -> Callable[[Descriptor], list[str]]:
    """A function: the sentences about those who send or receive a message."""
    requested = descriptors.reachable(method.input_type for service in grpc_services(of) for method in service.methods)
    published = descriptors.reachable(events(of).values())

    def sentences(message: Descriptor) -> list[str]:
        clients = [_CLIENTS] if message.full_name in requested else []
        consumers = [_CONSUMERS] if message.full_name in published else []
        return [*clients, *consumers] or [_SERVICES]

    return sentences


def _stricter(old: Descriptor, new: Descriptor) -> Iterator[str]:
    """Values that the rules of a message, its fields and its oneofs refuse now, and did not before."""
    compared: list[tuple[Descriptor | FieldDescriptor | OneofDescriptor, ...]] = [
        (old, new),
        *pairs(old.fields_by_name, new.fields_by_name),
        *pairs(old.oneofs_by_name, new.oneofs_by_name),
    ]
    for before, now in compared:
        yield from (f"{now.full_name} {refused}" for refused in tightened(rules_of(before), rules_of(now)))


def _missing(old: Descriptor, new: Descriptor, validator: protovalidate.Validator) -> Iterator[str]:
    """New fields and oneofs that are required: whoever does not know them leaves them out."""
    known = {*old.fields_by_name, *old.oneofs_by_name}
    for broken in violations(descriptors.message_class(new)(), validator):
        # Without a field: a rule of the whole message, which `_stricter` has found.
        if broken.field and broken.field not in known:
            yield f"{new.full_name} without {broken.field} ({broken.rule})"


def _messages(of: Files) -> dict[str, Descriptor]:
    return {message.full_name: message for message in descriptors.messages(of)}


def _predefined(of: Files) -> dict[str, FieldDescriptor]:
    """The extensions of the contract, by full name; those that are predefined rules carry their CEL."""
    return {extension.full_name: extension for extension in descriptors.extensions(of)}
