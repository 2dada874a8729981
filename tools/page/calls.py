"""Services and RPCs on the page: requests, responses, rights, error reasons."""

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract import access, descriptors
from tools.documents import elements
from tools.documents.elements import anchor, rpc_name, short
from tools.documents.error_reasons import reasons
from tools.page.layout import entry, fact_list, lines, plain_row, row, table_of, titled
from tools.page.markup import Html, code, element, joined, link, separated
from tools.page.messages import message_part, type_link
from tools.page.references import References


def service_part(service: ServiceDescriptor, references: References) -> Html:
    """A service with its RPCs."""
    place = anchor(short(service))
    methods = [_rpc(method, references) for method in service.methods]
    heading = titled("h3", short(service), place)
    return entry("section", "service", short(service), place, heading, references.text(service.full_name), *methods)


def _rpc(method: MethodDescriptor, references: References) -> Html:
    name, service = rpc_name(method), method.containing_service
    place = anchor(name)
    sides = [("Request", method.input_type), ("Response", method.output_type)]
    return entry(
        "section",
        "RPC",
        name,
        place,
        titled("h4", name, place),
        element("p", code(descriptors.path(method)), class_="wire"),
        references.text(method.full_name, service.name),
        fact_list(_callers(method) | _errors(method, references)),
        *(_side(label, kind, references) for label, kind in sides),
    )


def _callers(method: MethodDescriptor) -> dict[str, Html]:
    rights = access.access(method)
    roles = [
        element("span", elements.role(number), class_="role") for number in elements.ROLES if number in rights.roles
    ]
    services = [link(f"user.{name}", name) for name in elements.services(rights)]
    return {"may be called by": separated(", ", roles + services), "a customer has to own": _owned(method)}


def _owned(method: MethodDescriptor) -> Html:
    """The field of the request, or of each request of a batch, that names what a customer has to own."""
    rights = access.access(method)
    field = rights.customer_field or rights.order_field
    request = access.batched(method.input_type) or method.input_type
    return link(f"{anchor(short(request))}.{field}", code(field)) if field else Html()


def _errors(method: MethodDescriptor, references: References) -> dict[str, Html]:
    own = references.reasons_named(method.full_name)
    always = [r for r in references.reasons_named(method.containing_service.full_name) if r not in own]
    rights = [name for name in reasons() if name in access.OF_CALLERS]
    return {
        "errors it names": _links(own),
        "of each call of this service": _links(always),
        "of callers without the right": _links(rights),
    }


def _links(names: Iterable[str]) -> Html:
    return separated(", ", [link(f"reason.{name}", code(name)) for name in names])


def _side(label: str, kind: Descriptor, references: References) -> Html:
    """The request or the response of an RPC, or a link to it where others have it as well."""
    if references.rpc_of(kind) is None:
        return element("p", f"{label}: ", type_link(kind))
    return message_part(kind, references, "h5", element("span", label, class_="side"))


def reasons_table(references: References) -> Html:
    """The error reasons, and for each the RPCs whose comment names it."""
    enum = ErrorReason.DESCRIPTOR
    package = enum.full_name.removesuffix(enum.name)
    named_by = {
        name: [
            link(anchor(rpc_name(m)), rpc_name(m))
            for m in references.methods
            if name in references.reasons_named(m.full_name)
        ]
        for name in reasons()
    }
    rows = [
        row(
            "error reason",
            name,
            f"reason.{name}",
            (
                link(f"reason.{name}", code(name)),
                code(reason.code),
                _yes(reason.final),
                _yes(reason.retryable),
                joined(element("div", reason.message, class_="text"), references.line(f"{package}{enum.name}.{name}")),
                lines(named_by[name]),
            ),
        )
        for name, reason in reasons().items()
    ]
    return table_of(("reason", "code", "final", "repeat", "text, meaning", "RPCs that name it"), rows)


def _yes(stated: bool) -> str:
    return "yes" if stated else ""


def rights_table(references: References) -> Html:
    """The callers of each RPC."""
    rows = []
    for method in references.methods:
        rights, name = access.access(method), rpc_name(method)
        roles = [_yes(number in rights.roles) for number in elements.ROLES]
        services = separated(", ", [link(f"user.{user}", user) for user in elements.services(rights)])
        rows.append(plain_row(link(anchor(name), name), *roles, services, _owned(method)))
    return table_of(("RPC", *map(elements.role, elements.ROLES), "services", "a customer has to own"), rows)


def setters_table() -> Html:
    """The fields that not everybody may set who may call."""
    rows = [
        plain_row(
            link(
                f"{anchor(short(field.containing_type))}.{field.name}",
                code(f"{short(field.containing_type)}.{field.name}"),
            ),
            ", ".join(elements.setters(field)),
        )
        for field in elements.fields(elements.messages())
        if elements.setters(field)
    ]
    return table_of(("field", "is set only by"), rows) if rows else Html()
