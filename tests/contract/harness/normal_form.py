"""Requests in normal form, in which equal ones are equal (other spellings: `variants.py`). Pure."""

from typing import Any

_UUIDS = ("request_id", "order_id")
_IGNORED = ("held", "create_time", "update_time")
"""Fields of a new product that the service sets."""


def normal(request: Any) -> Any:
    """A request with its UUIDs in lower case and its items sorted, without unknown fields and what is ignored."""
    form = copy(request)
    form.DiscardUnknownFields()
    for name in _UUIDS:
        if name in form.DESCRIPTOR.fields_by_name:
            setattr(form, name, getattr(form, name).lower())
    if (items := items_of(form)) is not None:
        items.sort(key=lambda item: str(item.product_id))
    if "product" in form.DESCRIPTOR.fields_by_name:
        for name in _IGNORED:
            form.product.ClearField(name)
    if "traceparent" in form.DESCRIPTOR.fields_by_name:
        form.traceparent = ""
    return form


def items_of(request: Any) -> Any:
    """The items of a request, None where it has none."""
    if "items" not in request.DESCRIPTOR.fields_by_name:
        return None
    if not request.DESCRIPTOR.fields_by_name["items"].message_type.name.endswith("s"):
        return request.items
    return request.items.items if request.HasField("items") else None


def copy(request: Any) -> Any:
    """The same again."""
    other = type(request)()
    other.CopyFrom(request)
    return other
