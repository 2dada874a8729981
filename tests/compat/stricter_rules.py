"""Rules made stricter, one of each kind, and the finding each has to produce."""

from tests.compat.contract_changes import NOTIFICATION, ORDER, PRODUCT, Change

SLUG = "ordersys.api.rules.v1.slug"


def ruled(field: str, rules: str, refused: str) -> Change:
    """A field of a request with more rules, or with other limits."""
    finding = f"Clients that send {PRODUCT}.{field} {refused} are refused from now on."
    return Change(f"{PRODUCT}.{field}", f"options {{ [buf.validate.field] {{ {rules} }} }}", finding)


STRICTER_RULES = {
    "gte raised": ruled("ListProductsRequest.page_size", "int32 { gte: 1 }", "below 1 (int32.gte: 0 → 1)"),
    "gt added": Change(
        f"{NOTIFICATION}.Notification.version",
        "options { [buf.validate.field] { int64 { gt: 1 } } }",
        f"Services that answer {NOTIFICATION}.Notification.version of 1 or less (int64.gt: none → 1)"
        " break the contract from now on.",
    ),
    "lte lowered": ruled("ItemQuantity.quantity", "int32 { lte: 500 }", "above 500 (int32.lte: 1000 → 500)"),
    "lte added": ruled("ListProductsRequest.page_size", "int32 { lte: 9 }", "above 9 (int32.lte: none → 9)"),
    "lt added": ruled("CancelOrderRequest.expected_version", "int64 { lt: 9 }", "of 9 or more (int64.lt: none → 9)"),
    "max_len lowered": ruled(
        "ListProductsRequest.page_token",
        "string { max_len: 20 }",
        "longer than 20 characters (string.max_len: 256 → 20)",
    ),
    "max_bytes added": ruled(
        "ListProductsRequest.page_token",
        "string { max_bytes: 256 }",
        "longer than 256 bytes (string.max_bytes: none → 256)",
    ),
    "min_len raised": ruled(
        "Product.name", "string { min_len: 3 }", "shorter than 3 characters (string.min_len: 1 → 3)"
    ),
    "min_items raised": ruled(
        "ItemQuantities.items", "repeated { min_items: 2 }", "of fewer than 2 elements (repeated.min_items: 1 → 2)"
    ),
    "max_items lowered": ruled(
        "ItemQuantities.items", "repeated { max_items: 9 }", "of more than 9 elements (repeated.max_items: 50 → 9)"
    ),
    "a rule of the elements added": ruled(
        "ItemQuantities.items", "repeated { items { required: true } }", "unset (repeated.items.required: none → True)"
    ),
    "pattern added": ruled("Product.name", 'string { pattern: "^x$" }', "unlike '^x$' (string.pattern: none → '^x$')"),
    "required added": ruled("Product.create_time", "required: true", "unset (required: none → True)"),
    "in added": ruled("ItemQuantity.quantity", "int32 { in: [1, 2] }", "other than 1, 2 (int32.in: none → 1, 2)"),
    "not_in grown": ruled("AdjustStockRequest.delta", "int32 { not_in: 7 }", "out of 0, 7 (int32.not_in: 0 → 0, 7)"),
    "defined_only added": ruled(
        "UpdateOrderRequest.state",
        "enum { defined_only: true }",
        "of a number that has no name (enum.defined_only: none → True)",
    ),
    "uuid added": ruled("Product.name", "string { uuid: true }", "against the rule (string.uuid: none → True)"),
    "slug added": ruled("Product.name", f"string {{ [{SLUG}]: true }}", "against the rule (string.slug: none → True)"),
    "const added": ruled("Product.held", "int64 { const: 5 }", "against the rule (int64.const: none → 5)"),
    "CEL added": ruled(
        "Product.name", 'cel { id: "x" expression: "this != \'\'" }', "against the rule (x: none → \"this != ''\")"
    ),
    "an expression added": ruled(
        "Product.name", 'cel_expression: "true"', "against one of 'true' (cel_expression: none → 'true')"
    ),
    "unique_products added": Change(
        f"{ORDER}.BatchCreateOrdersRequest.requests",
        "options { [buf.validate.field] { repeated { [ordersys.api.rules.v1.unique_products]: true } } }",
        f"Clients that send {ORDER}.BatchCreateOrdersRequest.requests against the rule "
        "(repeated.unique_products: none → True) are refused from now on.",
    ),
    "in shrunk": Change(
        f"{PRODUCT}.UpdateOrderRequest.state",
        "in: 2 in: 4",
        f"Clients that send {PRODUCT}.UpdateOrderRequest.state other than 2, 4 (enum.in: 2, 3, 4 → 2, 4)"
        " are refused from now on.",
        old="in: 2 in: 3 in: 4",
    ),
    "ignore removed": Change(
        f"{ORDER}.CreateOrderRequest.traceparent",
        "",
        f"Clients that send {ORDER}.CreateOrderRequest.traceparent empty (ignore: 1 → none) are refused from now on.",
        old="ignore: IGNORE_IF_ZERO_VALUE",
    ),
    "a message rule added": Change(
        f"{PRODUCT}.ItemQuantity",
        'options { [buf.validate.message] { cel { id: "x" expression: "true" } } }',
        f"Clients that send {PRODUCT}.ItemQuantity against the rule (x: none → 'true') are refused from now on.",
    ),
    "a member required": Change(
        f"{ORDER}.CreateOrderResult.result",
        "options { [buf.validate.oneof] { required: true } }",
        f"Services that answer {ORDER}.CreateOrderResult.result unset (required: none → True)"
        " break the contract from now on.",
    ),
    "a rule of an event": Change(
        f"{ORDER}.OrderRejected.shortages",
        "options { [buf.validate.field] { repeated { max_items: 9 } } }",
        f"Consumers send events published with {ORDER}.OrderRejected.shortages of more than 9 elements "
        "(repeated.max_items: 50 → 9) to the dead letters from now on.",
    ),
    "a sum asked for": Change(
        f"{PRODUCT}.Product.unit_price",
        'options { [ordersys.api.rules.v1.sum_of]: "items" }',
        f"Clients that send {PRODUCT}.Product.unit_price against the rule (sum_of: none → 'items')"
        " are refused from now on.",
    ),
    "an order of elements asked for": Change(
        f"{PRODUCT}.ItemQuantities.items",
        'options { [ordersys.api.rules.v1.sorted_by]: "product_id" }',
        f"Clients that send {PRODUCT}.ItemQuantities.items against the rule (sorted_by: none → 'product_id')"
        " are refused from now on.",
    ),
    "a new field that must be set": Change(
        f"{PRODUCT}.GetProductRequest",
        'field { name: "note" number: 9 type: TYPE_STRING options { [buf.validate.field] { string { min_len: 1 } } } }',
        f"Clients that send {PRODUCT}.GetProductRequest without note (string.min_len) are refused from now on.",
    ),
}
REWORDED = {
    "a pattern changed": Change(
        f"{ORDER}.CreateOrderRequest.traceparent",
        "{33}",
        f"Clients that send {ORDER}.CreateOrderRequest.traceparent unlike '^00-[0-9a-f]{{33}}-",
        old="{32}",
    ),
    "a CEL expression changed": Change(
        f"{PRODUCT}.Product.unit_price",
        "this.units < 500000",
        f"Clients that send {PRODUCT}.Product.unit_price against the rule (money.price: ",
        old="this.units < 1000000",
    ),
    "a predefined rule changed": Change(
        SLUG, "{0,9}", f"Clients that send a field with the rule {SLUG} against the rule (string.slug: ", old="{0,62}"
    ),
}
