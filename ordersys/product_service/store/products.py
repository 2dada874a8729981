"""Operations on products: create, adjust, read."""

from sqlalchemy import Connection, select

from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    AdjustStockResponse,
    CreateProductRequest,
    CreateProductResponse,
)
from ordersys.contract.errors import Refused, out_of_stock, product_already_exists, refusing
from ordersys.contract.normalisation import fingerprint
from ordersys.product_service.store.inventory import Inventory, product, row
from ordersys.product_service.store.tables import PRODUCTS, REQUESTS
from ordersys.runtime.base.ids import now
from ordersys.runtime.idempotency import Outcome, refusal, success
from ordersys.runtime.storage.statements import inserting

_INSERT = inserting(PRODUCTS)


def create(connection: Connection, requests: list[CreateProductRequest]) -> list[Outcome | Refused]:
    """An operation: creates each product, or answers as before, or refuses it."""
    time = now()
    ledger = REQUESTS.ledger(connection, [r.request_id for r in requests], time)
    shelf = Inventory(connection, [r.product.id for r in requests], time)
    created: dict[str, dict[str, object]] = {}

    def decide(request: CreateProductRequest) -> Outcome:
        mark = fingerprint(request)
        if (known := ledger.recall(request.request_id, mark)) and known.outcome:
            return known.outcome
        if request.product.id in shelf or request.product.id in created:
            raise product_already_exists(request.product.id)
        created[request.product.id] = row(request.product, time)
        outcome = success(CreateProductResponse(product=product(created[request.product.id])))
        ledger.close(request.request_id, mark, request.product.id, outcome)
        return outcome

    results = [refusing(decide, request) for request in requests]
    ledger.write()
    _INSERT.run(connection, created.values())
    return results


def adjust_stock(connection: Connection, requests: list[AdjustStockRequest]) -> list[Outcome | Refused]:
    """An operation: makes each adjustment, or answers as before, or refuses it."""
    time = now()
    ledger = REQUESTS.ledger(connection, [r.request_id for r in requests], time)
    shelf = Inventory(connection, [r.product_id for r in requests], time)

    def decide(request: AdjustStockRequest) -> Outcome:
        mark = fingerprint(request)
        if (known := ledger.recall(request.request_id, mark)) and known.outcome:
            return known.outcome
        shelf.check([request.product_id])
        outcome = _adjusted(shelf, request)
        ledger.close(request.request_id, mark, request.product_id, outcome)
        return outcome

    results = [refusing(decide, request) for request in requests]
    ledger.write()
    shelf.write()
    return results


def get(connection: Connection, product_id: str) -> Product:
    """One product. Raises Refused (PRODUCT_NOT_FOUND)."""
    shelf = Inventory(connection, [product_id], 0)
    shelf.check([product_id])
    return shelf.product(product_id)


def page(connection: Connection, after: str | None, size: int) -> list[Product]:
    """Up to `size` products by id, beginning after `after`."""
    rows = select(PRODUCTS).order_by(PRODUCTS.c.product_id).limit(size)
    if after is not None:
        rows = rows.where(PRODUCTS.c.product_id > after)
    return [product(row._asdict()) for row in connection.execute(rows)]


def purge(connection: Connection, times: list[int]) -> list[int]:
    """An operation: forgets some finished requests from before each time; how many."""
    return [REQUESTS.purge(connection, before) for before in times]


def _adjusted(shelf: Inventory, request: AdjustStockRequest) -> Outcome:
    """A refusal for want of stock is an outcome too."""
    taken = {request.product_id: -request.delta}
    if request.delta < 0 and (short := shelf.shortages(taken)):
        return refusal(out_of_stock(short))
    shelf.adjust(request.product_id, request.delta)
    return success(AdjustStockResponse(product=shelf.product(request.product_id)))
