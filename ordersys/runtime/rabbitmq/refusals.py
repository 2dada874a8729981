"""Refusals of a broker that is there: which permission is missing, what is otherwise than it should be, the way out.

AMQP 0-9-1 has a reply code and a text for each (§1.2, constants); RabbitMQ names the resource, and not the permission.
"""

import re

ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, PRECONDITION_FAILED, NOT_ALLOWED = 403, 404, 405, 406, 530
_LASTING = {ACCESS_REFUSED, RESOURCE_LOCKED, NOT_ALLOWED}
_OF_A_MESSAGE = {311, ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, 501, 502, 505}
_TOPIC = "access to topic"
_RESOURCE = re.compile(r"(exchange|queue) '([^']*)'")
# Access Control in RabbitMQ, "How Permissions Work". To publish needs write, to consume read; binding needs write on
# what is bound and read on what it is bound to; a queue with dead letters also needs read, and write on their exchange.
_PERMISSIONS = {
    ("exchange_declare", "exchange"): "configure",
    ("queue_declare", "queue"): "configure and read",
    ("queue_declare", "exchange"): "write",
    ("queue_bind", "queue"): "write",
    ("queue_bind", "exchange"): "read",
    ("exchange_bind", "exchange"): "read, and write on the exchange it feeds,",
    ("", "exchange"): "write",
    ("", "queue"): "read",
}


def is_lasting(code: int, text: str, method: str) -> bool:
    """True when whatever is tried will be refused until somebody changes something in the broker, or in the settings.

    To declare what is there in another way (PRECONDITION_FAILED) stays refused; for a message it is a matter of that
    message, or of how long a delivery was not acknowledged. A routing key that is forbidden (topic permissions) is a
    matter of the messages that have it.
    """
    if code == ACCESS_REFUSED and not method:
        return _TOPIC not in text
    return code in _LASTING or (code == PRECONDITION_FAILED and method.endswith("declare"))


def forbids(text: str, exchange: str, routing_key: str) -> bool:
    """True when the broker says in `text` that the user may not publish to `exchange` with `routing_key`."""
    return f"{_TOPIC} '{routing_key}' in exchange '{exchange}'" in text


def is_of_a_message(code: int) -> bool:
    """True when the broker may have closed the channel, or the connection, for one message it can't take."""
    return code in _OF_A_MESSAGE


def explained(code: int, text: str, method: str = "") -> str:
    """The broker's words, and the way out. `method` is the AMQP method called, empty for publish and consume."""
    if code == ACCESS_REFUSED and _TOPIC in text:
        return f"the user may not use this routing key; grant it with rabbitmqctl set_topic_permissions ({code} {text})"
    if code == ACCESS_REFUSED and (named := _RESOURCE.search(text)):
        kind, resource = named.groups()
        permission = _PERMISSIONS.get((method, kind), "another")
        return (
            f"the user lacks the {permission} permission on {kind} {resource!r};"
            f" grant it with rabbitmqctl set_permissions ({code} {text})"
        )
    if code == PRECONDITION_FAILED and method.endswith("declare") and "inequivalent" in text:
        return (
            "it is there already, but not as the contract states it; delete it once it is empty, or use a virtual host"
            f" of its own ({code} {text})"
        )
    if code == RESOURCE_LOCKED:
        return f"another connection uses it alone; end that one ({code} {text})"
    return f"{code} {text}"
