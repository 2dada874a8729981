"""Incompatible changes of topology and error reasons, one of each kind, and the finding each has to produce."""

from tests.compat.contract_changes import NOTIFICATION, ORDER, PRODUCT, Change

EVENTS, CREATED = "ordersys/api/order/v1/order_events.proto", f"{ORDER}.OrderCreated"
LISTENER, REASONS = f"{NOTIFICATION}.NotificationService2", "ordersys.api.error.v1.ErrorReason"
QUEUE, DEAD_LETTERS = "notification-service-2.v1", "notification-service-2.dead-letters.v1"
INCOMPATIBLE_TOPOLOGY = {
    "an exchange renamed": Change(
        EVENTS,
        'name: "orders.all"',
        "Whoever relies on exchange orders.events is left alone with it: no service declares it any more.",
        old='name: "orders.events"',
    ),
    "an exchange of another type": Change(
        EVENTS,
        "EXCHANGE_TYPE_DIRECT",
        "A broker that has exchange orders.events declared answers 406 to every service (type: topic → direct).",
        old="EXCHANGE_TYPE_TOPIC",
    ),
    "an exchange that feeds no longer": Change(
        EVENTS,
        "",
        "Whoever listens to exchange orders.events misses what is published to orders.created, "
        "which feeds it no longer.",
        old='feeds: "orders.events"',
    ),
    "an exchange that feeds now": Change(
        EVENTS,
        'name: "orders.events" feeds: "orders.created"',
        "Whoever listens to exchange orders.created gets what is published to orders.events too, which feeds it now.",
        old='name: "orders.events"',
    ),
    "an event on another exchange": Change(
        CREATED,
        'exchange: "orders.events"',
        f"Whoever listens to exchange orders.created misses {CREATED}, which is published to orders.events.",
        old='exchange: "orders.created"',
    ),
    "an event under another routing key": Change(
        CREATED,
        'routing_key: "order.new"',
        f"Whoever has bound routing key order.created misses {CREATED}, which carries order.new.",
        old='routing_key: "order.created"',
    ),
    "an event of another publisher": Change(
        CREATED,
        f'publisher: "{PRODUCT}.ProductService"',
        f"Whoever takes what {ORDER}.OrderService publishes misses {CREATED}, "
        f"which comes from {PRODUCT}.ProductService.",
        old=f'publisher: "{ORDER}.OrderService"',
    ),
    "another delivery limit": Change(
        LISTENER,
        "delivery_limit: 6",
        f"A broker that has queue {QUEUE} declared answers 406 to every service (x-delivery-limit: 5 → 6).",
        old="delivery_limit: 5",
    ),
    "another delivery limit of dead letters": Change(
        LISTENER,
        "delivery_limit: 9",
        f"A broker that has queue {DEAD_LETTERS} declared answers 406 to every service "
        "(x-delivery-limit: 1000000 → 9).",
        old="delivery_limit: 1000000",
    ),
    "another type of queue": Change(
        LISTENER,
        "type: QUEUE_TYPE_UNSPECIFIED",
        f"A broker that has queue {QUEUE} declared answers 406 to every service (x-queue-type: quorum → unspecified).",
        old="type: QUEUE_TYPE_QUORUM",
    ),
    "other dead letters": Change(
        LISTENER,
        "dead-letters.v2",
        f"Whoever looks after the dead letters in {DEAD_LETTERS} misses those of notification-service-2: "
        "they go to notification-service-2.dead-letters.v2.",
        old="dead-letters.v1",
    ),
    "dead letters under the old queue": Change(
        LISTENER,
        "dead-letters.v2",
        f"A broker that has queue {QUEUE} declared answers 406 to every service (x-dead-letter-routing-key: "
        f"{DEAD_LETTERS} → notification-service-2.dead-letters.v2).",
        old="dead-letters.v1",
    ),
    "another queue": Change(
        LISTENER,
        '"notification-service-2.v2"',
        f"What waits in queue {QUEUE} is taken by nobody: notification-service-2 reads notification-service-2.v2.",
        old=f'"{QUEUE}"',
    ),
    "a queue gone": Change(
        LISTENER,
        '"notification-service-2.v2"',
        f"Whoever relies on queue {QUEUE} is left alone with it: no service declares it any more.",
        old=f'"{QUEUE}"',
    ),
    "another binding": Change(
        LISTENER,
        'exchange: "orders.created"',
        "A broker that has declared the binding to orders.events keeps it: "
        "notification-service-2 hears from there besides orders.created.",
        old='exchange: "orders.events"',
    ),
    "a subscription gone": Change(
        LISTENER,
        'consumer: "somebody"',
        "Subscriber notification-service-2 hears nothing any more: it has no subscription.",
        old='consumer: "notification-service-2"',
    ),
    "an event taken no longer": Change(
        LISTENER,
        "",
        f"Subscriber notification-service-2 dead-letters {ORDER}.OrderUpdated, which it takes no longer.",
        old=f'method {{ name: "OnOrderUpdated" input_type: ".{ORDER}.OrderUpdated"'
        ' output_type: ".google.protobuf.Empty" }',
    ),
    "a reason gone": Change(
        f"{REASONS}.OUT_OF_STOCK",
        '"SOLD_OUT"',
        "Clients that decide on reason OUT_OF_STOCK wait for it in vain: it is gone.",
        old='"OUT_OF_STOCK"',
    ),
    "a reason with another code": Change(
        f"{REASONS}.OUT_OF_STOCK",
        "code: ABORTED",
        "Clients that expect the code FAILED_PRECONDITION of OUT_OF_STOCK get ABORTED.",
        old="code: FAILED_PRECONDITION",
    ),
    "a reason not to repeat after": Change(
        f"{REASONS}.OUTCOME_OPEN",
        "",
        "Clients that know OUTCOME_OPEN as retryable=True repeat in vain or give up too early: it is False.",
        old="retryable: true",
    ),
    "a final reason that is a doubt by now": Change(
        f"{REASONS}.OUT_OF_STOCK",
        "",
        "Sagas that know OUT_OF_STOCK as final release what they have reserved, though by now the outcome is in doubt.",
        old="final: true",
    ),
    "a reason of another domain": Change(
        REASONS,
        '"elsewhere"',
        "Clients that look for reasons of ordersys overlook OUT_OF_STOCK, whose domain is elsewhere.",
        old='"ordersys"',
    ),
}
