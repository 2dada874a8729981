"""The modules that are mutated, and the services that are judged with each.

These decide or keep what can be seen from outside: pure rules, operations on databases, and what carries outcomes and
events across a crash. Left out are settings, logs, connections, the composition of processes, and what only bounds load
or happens after a day: nothing of theirs stands in the contract, and tests of ours hold them.
"""

from collections.abc import Mapping, Sequence

from tests.mutants.mutant import LISTENER_1, LISTENER_2, ORDER, PRODUCT

_PUBLISHERS = (ORDER, PRODUCT)
_LISTENERS = (LISTENER_1, LISTENER_2)
_EVERYBODY = (ORDER, LISTENER_1, PRODUCT)

MODULES: Mapping[str, Sequence[str]] = {
    "ordersys.order_service.lifecycle": (ORDER,),
    "ordersys.order_service.servicer": (ORDER,),
    "ordersys.order_service.store": (ORDER,),
    "ordersys.product_service.change_order": (PRODUCT,),
    "ordersys.product_service.groups": (PRODUCT,),
    "ordersys.product_service.order_client": (PRODUCT,),
    "ordersys.product_service.place_order": (PRODUCT,),
    "ordersys.product_service.saga": (PRODUCT,),
    "ordersys.product_service.saga_engine": (PRODUCT,),
    "ordersys.product_service.saga_runner": (PRODUCT,),
    "ordersys.product_service.servicer": (PRODUCT,),
    "ordersys.product_service.stock": (PRODUCT,),
    "ordersys.product_service.turns": (PRODUCT,),
    "ordersys.product_service.store.changes": (PRODUCT,),
    "ordersys.product_service.store.inventory": (PRODUCT,),
    "ordersys.product_service.store.placements": (PRODUCT,),
    "ordersys.product_service.store.products": (PRODUCT,),
    "ordersys.product_service.store.sagas": (PRODUCT,),
    "ordersys.product_service.store.transaction": (PRODUCT,),
    "ordersys.notification_service.dead_letters": (LISTENER_1,),
    "ordersys.notification_service.inbox": (LISTENER_1,),
    "ordersys.notification_service.recorder": (LISTENER_1,),
    "ordersys.notification_service.removals": (LISTENER_1,),
    "ordersys.notification_service.requests": (LISTENER_1,),
    "ordersys.notification_service.servicer": (LISTENER_1,),
    "ordersys.contract.checks": _EVERYBODY,
    "ordersys.contract.errors": _EVERYBODY,
    "ordersys.contract.events": _EVERYBODY,
    "ordersys.contract.money": (ORDER, LISTENER_1),
    "ordersys.contract.normalisation": _EVERYBODY,
    "ordersys.contract.pagination": _EVERYBODY,
    "ordersys.contract.properties": (LISTENER_1,),
    "ordersys.contract.splicing": _PUBLISHERS,
    "ordersys.contract.times": _EVERYBODY,
    "ordersys.contract.validation": _EVERYBODY,
    "ordersys.runtime.dead_letters": (LISTENER_1,),
    "ordersys.runtime.idempotency": _EVERYBODY,
    "ordersys.runtime.outbox": _PUBLISHERS,
    "ordersys.runtime.relay": _PUBLISHERS,
}
"""By module, the services that are judged alone, one after the other, and broken together."""
