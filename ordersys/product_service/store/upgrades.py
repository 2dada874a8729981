"""Upgrades of databases of earlier releases. Each stays as it was written: it knows the tables of its time."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest

_AT_A_TIME = 1000  # rows in memory
_TABLES = (
    """
    CREATE TABLE reservations (
        order_id VARCHAR(36) NOT NULL, units TEXT NOT NULL, PRIMARY KEY (order_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE sagas (
        order_id VARCHAR(36) NOT NULL, saga_id VARCHAR(36) NOT NULL, kind VARCHAR(16) NOT NULL,
        request_id VARCHAR(36) NOT NULL, order_request BLOB NOT NULL, reserved TEXT NOT NULL,
        traceparent VARCHAR(64) NOT NULL, PRIMARY KEY (order_id)
    ) WITHOUT ROWID
    """,
)
_CHANGES = "SELECT hop, request_id, reserved, traceparent FROM changes"
_PLACEMENTS = """
    SELECT creation, request_id, holding FROM placements
    WHERE pending AND order_id NOT IN (SELECT order_id FROM changes)
"""
_INSERT_SAGA = """
    INSERT INTO sagas (order_id, saga_id, kind, request_id, order_request, reserved, traceparent)
    VALUES (:order_id, :saga_id, :kind, :request_id, :order_request, :reserved, :traceparent)
"""
# The creation of an overtaken placement, where the answer to its request is going to stand.
_KEEP_CREATION = """
    UPDATE requests SET body = placements.creation FROM placements
    WHERE placements.request_id = requests.request_id AND placements.pending
    AND placements.order_id IN (SELECT order_id FROM changes)
"""
_RESERVE = """
    INSERT INTO reservations (order_id, units) SELECT order_id, holding FROM placements
    WHERE holding <> '{}' AND (NOT pending OR order_id IN (SELECT order_id FROM changes))
"""


def split_placements(connection: Connection) -> None:
    """Version 2 → 3: reservations and sagas in place of placements, which were both, and of changes.

    Early releases changed orders whose placement was pending. Then the order exists: its change stays the saga, and the
    placement's request is answered from the order (see placements.Unanswered).
    """
    for table in _TABLES:
        connection.execute(text(table))
    _insert_sagas(connection, _CHANGES, _change)
    _insert_sagas(connection, _PLACEMENTS, _placement)
    connection.execute(text(_KEEP_CREATION))
    connection.execute(text(_RESERVE))
    connection.execute(text("DROP TABLE placements"))
    connection.execute(text("DROP TABLE changes"))


def _insert_sagas(connection: Connection, query: str, saga: Callable[..., dict[str, Any]]) -> None:
    for rows in connection.execute(text(query)).partitions(_AT_A_TIME):
        connection.execute(text(_INSERT_SAGA), [saga(*row) for row in rows])


def _placement(creation: bytes, request_id: str, holding: str) -> dict[str, Any]:
    request = CreateOrderRequest.FromString(creation)
    return {
        "order_id": request.order_id,
        "saga_id": request.request_id,
        "kind": "place_order",
        "request_id": request_id,
        "order_request": creation,
        "reserved": holding,
        "traceparent": request.traceparent,
    }


def _change(hop: bytes, request_id: str, reserved: str, traceparent: str) -> dict[str, Any]:
    request = UpdateOrderRequest.FromString(hop)
    return {
        "order_id": request.order_id,
        "saga_id": request.request_id,
        "kind": "change_order",
        "request_id": request_id,
        "order_request": hop,
        "reserved": reserved,
        "traceparent": traceparent,
    }
