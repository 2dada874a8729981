"""Changes that take a right from somebody who has it by the released contract."""

from tests.compat.contract_changes import ORDER, PRODUCT, Change

NARROWER_RIGHTS = {
    "a role": Change(
        f"{PRODUCT}.ProductService.ListProducts",
        "",
        f"Callers with ROLE_ANONYMOUS can't call {PRODUCT}.ProductService.ListProducts any more.",
        old="callers: ROLE_ANONYMOUS",
    ),
    "a service": Change(
        f"{ORDER}.OrderService.GetOrder",
        "",
        f"Callers with the service {PRODUCT}.ProductService can't call {ORDER}.OrderService.GetOrder any more.",
        old=f'services: "{PRODUCT}.ProductService"',
    ),
    "what is not one's own": Change(
        f"{ORDER}.OrderService.CreateOrder",
        'customer_field: "customer_id" }',
        f"Customers can call {ORDER}.OrderService.CreateOrder only for what is theirs: customer_id.",
        old="}",
    ),
    "a field that was everybody's": Change(
        f"{PRODUCT}.UpdateOrderRequest.items",
        "options { [ordersys.api.auth.v1.setters] { callers: [ROLE_ANONYMOUS, ROLE_OPERATOR] } }",
        f"Callers with ROLE_CUSTOMER set {PRODUCT}.UpdateOrderRequest.items in vain: it is not theirs any more.",
    ),
}
