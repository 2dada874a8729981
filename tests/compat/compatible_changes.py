"""Compatible changes: additions to the contract, and better comments."""

from tests.compat.contract_changes import NOTIFICATION, ORDER, PRODUCT, Change

EVENTS, CREATED = "ordersys/api/order/v1/order_events.proto", f"{ORDER}.OrderCreated"
SUBSCRIPTIONS, REASONS = "ordersys/api/notification/v1/subscriptions.proto", "ordersys.api.error.v1.ErrorReason"
COMPATIBLE_CHANGES = {
    "a field": Change(f"{PRODUCT}.GetProductRequest", 'field { name: "note" number: 9 type: TYPE_STRING }'),
    "a field that may be left out": Change(
        f"{PRODUCT}.GetProductRequest",
        'field { name: "note" number: 9 type: TYPE_STRING options { [buf.validate.field] { string { max_len: 9 } } } }',
    ),
    "a message with rules": Change(
        EVENTS,
        'message_type { name: "Note" field { name: "text" number: 1 type: TYPE_STRING'
        " options { [buf.validate.field] { string { min_len: 1 } } } } }",
    ),
    "an exchange that is fed": Change(
        EVENTS,
        'type: EXCHANGE_TYPE_TOPIC feeds: "orders.all" } '
        '[ordersys.api.amqp.v1.exchange] { name: "orders.all" type: EXCHANGE_TYPE_FANOUT',
        old="type: EXCHANGE_TYPE_TOPIC",
    ),
    "an event": Change(
        EVENTS,
        'message_type { name: "OrderArchived" options { [ordersys.api.amqp.v1.publication] { exchange: "orders.events"'
        f' routing_key: "order.archived" publisher: "{ORDER}.OrderService" }} }} }}',
    ),
    "a subscription with a queue": Change(
        SUBSCRIPTIONS,
        'service { name: "Billing" options { [ordersys.api.amqp.v1.subscription] { consumer: "billing"'
        ' exchange: "orders.created" queue { name: "billing.v1" type: QUEUE_TYPE_QUORUM delivery_limit: 5'
        ' dead_letter_queue { name: "billing.dead-letters.v1" delivery_limit: 9 } } } }'
        f' method {{ name: "OnOrderCreated" input_type: ".{CREATED}" output_type: ".google.protobuf.Empty" }} }}',
    ),
    "an event taken": Change(
        f"{NOTIFICATION}.NotificationService1",
        f'method {{ name: "OnOrderUpdated" input_type: ".{ORDER}.OrderUpdated"'
        ' output_type: ".google.protobuf.Empty" }',
    ),
    "a reason": Change(
        REASONS,
        'value { name: "NO_CREDIT" number: 99 options { [ordersys.api.error.v1.refusal] { code: ABORTED } } }',
    ),
    "a text of a reason": Change(f"{REASONS}.OUT_OF_STOCK", "is no stock", old="is not enough stock"),
    "an example": Change(f"{PRODUCT}.Product.name", 'options { [buf.validate.field] { string { example: "Lamp" } } }'),
}
