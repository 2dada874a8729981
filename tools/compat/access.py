"""Rights that became narrower: whoever could call, or set a field, and can't any more.

A released contract, or an RPC of it, that says nothing at all is not compared: what it left open, nobody was promised.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from ordersys.api.auth.v1 import access_pb2
from ordersys.contract import descriptors
from ordersys.contract.descriptors import Files
from tools.compat.changes import pairs


def findings(released: Files, current: Files) -> Iterator[str]:
    """A sentence for each right that is gone, and each word of a token that gives another role."""
    if not any(map(access_of, _methods(released).values())):
        return
    for before, now in pairs(_methods(released), _methods(current)):
        if access_of(before):
            yield from _narrowed(before, now)
    now_stated = _setters(current)
    for field, callers in _setters(released).items():
        sentence = f"Callers with {{}} set {field} in vain: it is not theirs any more."
        yield from _gone(sentence, callers, now_stated.get(field, callers))
    words = _scopes(current)
    for word, role in _scopes(released).items():
        if words.get(word) != role:
            yield f"Tokens with {word} in their scope give another role than {role}, or none."


def access_of(method: MethodDescriptor) -> Any:
    """The option, None where an RPC has none."""
    options = method.GetOptions()
    return options.Extensions[access_pb2.access] if options.HasExtension(access_pb2.access) else None


def _narrowed(before: MethodDescriptor, now: MethodDescriptor) -> Iterator[str]:
    was, is_ = access_of(before), access_of(now) or access_pb2.Access()
    yield from _gone(f"Callers with {{}} can't call {now.full_name} any more.", _callers(was), _callers(is_))
    if is_.WhichOneof("owned") and (is_.customer_field, is_.order_field) != (was.customer_field, was.order_field):
        yield f"Customers can call {now.full_name} only for what is theirs: {is_.customer_field or is_.order_field}."


def _gone(sentence: str, before: set[str], now: set[str]) -> Iterator[str]:
    return (sentence.format(who) for who in sorted(before - now))


def _callers(option: Any) -> set[str]:
    return {access_pb2.Role.Name(role) for role in option.callers} | {f"the service {name}" for name in option.services}


def _methods(of: Files) -> Mapping[str, MethodDescriptor]:
    return {method.full_name: method for service in descriptors.services(of) for method in service.methods}


def _setters(of: Files) -> Mapping[str, set[str]]:
    """Those who may set each field, by its name: everybody where nothing is stated."""
    everybody = {role for role in access_pb2.Role.keys() if role != "ROLE_UNSPECIFIED"}  # noqa: SIM118 - no dict
    stated = {
        field.full_name: _callers(field.GetOptions().Extensions[access_pb2.setters])
        for message in descriptors.messages(of)
        for field in message.fields
    }
    return {name: callers or everybody for name, callers in stated.items()}


def _scopes(of: Files) -> Mapping[str, str]:
    return {
        word: value.name
        for file in of
        for enum in file.enum_types_by_name.values()
        for value in enum.values
        if (word := value.GetOptions().Extensions[access_pb2.scope])
    }
