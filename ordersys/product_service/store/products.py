"""Operations on products: create, adjust, read."""

from functools import partial

from sqlalchemy import Connection, select

from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    AdjustStockResponse,
    CreateProductRequest,
    CreateProductResponse,
)
from ordersys.contract import normalisation
from ordersys.contract.errors import StatusError, out_of_stock, product_already_exists, result_or_error
from ordersys.product_service.store.inventory import LOCKED, Inventory, product
from ordersys.product_service.store.tables import PRODUCTS, REQUESTS
from ordersys.product_service.store.transaction import Transaction
from ordersys.runtime.idempotency import Outcome, refusal, success


def create(connection: Connection, requests: list[CreateProductRequest]) -> list[Outcome | StatusError]:
    """An operation: creates each product, or answers as before, or refuses it."""
    transaction = Transaction(
        connection,
        request_ids=[request.request_id for request in requests],
        product_ids=[request.product.id for request in requests],
    )
    results = [result_or_error(partial(_create, transaction), request) for request in requests]
    transaction.write()
    return results


def adjust_stock(connection: Connection, requests: list[AdjustStockRequest]) -> list[Outcome | StatusError]:
    """An operation: makes each adjustment, or answers as before, or refuses it."""
    transaction = Transaction(
        connection,
        request_ids=[request.request_id for request in requests],
        product_ids=[request.product_id for request in requests],
        products=LOCKED,  # the answer shows the product as it is afterwards
    )
    results = [result_or_error(partial(_adjust, transaction), request) for request in requests]
    transaction.write()
    return results


def get(connection: Connection, product_id: str) -> Product:
    """One product. Raises StatusError (PRODUCT_NOT_FOUND)."""
    inventory = Inventory(connection, [product_id], 0)
    inventory.check([product_id])
    return inventory.product(product_id)


def page(connection: Connection, after: str | None, size: int) -> list[Product]:
    """Up to `size` products by id, beginning after `after`."""
    rows = select(PRODUCTS).order_by(PRODUCTS.c.product_id).limit(size)
    if after is not None:
        rows = rows.where(PRODUCTS.c.product_id > after)
    return [product(row._asdict()) for row in connection.execute(rows)]


def purge(connection: Connection, times: list[int]) -> list[int]:
    """An operation: forgets some finished requests from before each time; how many."""
    return [REQUESTS.purge(connection, before) for before in times]


def _create(transaction: Transaction, request: CreateProductRequest) -> Outcome:
    """The outcome of one request. Raises StatusError (REQUEST_ID_REUSED, PRODUCT_ALREADY_EXISTS)."""
    fingerprint = normalisation.fingerprint(request)
    if (known := transaction.ledger.recall(request.request_id, fingerprint)) and known.outcome:
        return known.outcome
    product_id = request.product.id
    if product_id in transaction.inventory:
        raise product_already_exists(product_id)
    transaction.inventory.add(request.product)
    outcome = success(CreateProductResponse(product=transaction.inventory.product(product_id)))
    transaction.ledger.record(request.request_id, fingerprint, product_id, outcome)
    return outcome


def _adjust(transaction: Transaction, request: AdjustStockRequest) -> Outcome:
    """The outcome of one request; a refusal for want of stock is one too. Raises StatusError (PRODUCT_NOT_FOUND …)."""
    fingerprint = normalisation.fingerprint(request)
    if (known := transaction.ledger.recall(request.request_id, fingerprint)) and known.outcome:
        return known.outcome
    transaction.inventory.check([request.product_id])
    outcome = _adjusted(transaction.inventory, request)
    transaction.ledger.record(request.request_id, fingerprint, request.product_id, outcome)
    return outcome


def _adjusted(inventory: Inventory, request: AdjustStockRequest) -> Outcome:
    removed = {request.product_id: -request.delta}
    if request.delta < 0 and (shortages := inventory.shortages(removed)):
        return refusal(out_of_stock(shortages))
    inventory.adjust(request.product_id, request.delta)
    return success(AdjustStockResponse(product=inventory.product(request.product_id)))
