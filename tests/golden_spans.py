"""The spans by which traces are read: their names, kinds and attributes, those of the conventions where these have any.

Dashboards and alerts of others are made of them: one that changes here changes there.
"""

from collections.abc import Mapping, Set

Kinds = Mapping[str, tuple[str, Set[str]]]
CREATED = "orders.created:order.created"
PLACED = "ordersys.api.product.v1.ProductService/PlaceOrder"
RPC = {"rpc.system.name", "rpc.method", "rpc.status_code"}
TO_SERVER = {*RPC, "server.address", "server.port"}
MESSAGING = {"messaging.system", "messaging.operation.name", "messaging.operation.type"}
ONE_EVENT = {
    *MESSAGING,
    "messaging.destination.name",
    "messaging.rabbitmq.destination.routing_key",
    "messaging.message.id",
}
OF_AN_ORDER: Kinds = {
    PLACED: ("SERVER", RPC),
    "saga place_order": ("INTERNAL", {"ordersys.order.id"}),
    "reserve": ("INTERNAL", set()),
    "call": ("INTERNAL", set()),
    "create": ("INTERNAL", set()),
    "confirm": ("INTERNAL", set()),
    f"create {CREATED}": ("PRODUCER", ONE_EVENT),
    f"publish {CREATED}": ("CLIENT", ONE_EVENT),
    f"process {CREATED}:notification-service-1.v1": (
        "CONSUMER",
        {*ONE_EVENT, "messaging.rabbitmq.message.delivery_tag"},
    ),
    f"process {CREATED}:notification-service-2.v1": (
        "CONSUMER",
        {*ONE_EVENT, "messaging.rabbitmq.message.delivery_tag"},
    ),
    "record": ("INTERNAL", set()),
}
"""The spans of an order in its own trace: the kind and the attributes of each."""
SHARED: Kinds = {
    "commit product-service": ("INTERNAL", {"db.system.name"}),
    "commit order-service": ("INTERNAL", {"db.system.name"}),
    "commit notification-service-1": ("INTERNAL", {"db.system.name"}),
    "commit notification-service-2": ("INTERNAL", {"db.system.name"}),
    "ordersys.api.order.v1.OrderService/BatchCreateOrders": ("CLIENT", TO_SERVER),
    "publish": ("CLIENT", MESSAGING),
    "ack notification-service-1.v1": ("CLIENT", {*MESSAGING, "messaging.destination.name"}),
    "ack notification-service-2.v1": ("CLIENT", {*MESSAGING, "messaging.destination.name"}),
}
"""The spans of what orders share, each the beginning of a trace."""
