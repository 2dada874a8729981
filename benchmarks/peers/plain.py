"""The services as many would write them: synchronous grpcio, sqlite3, pika's BlockingConnection; one thing at a time.

`python -m benchmarks.peers.plain SERVICE MANNER`, with the settings of ours, on the same tables. `guaranteed`
commits durably, has an outbox and waits for confirms; `careless` does neither: a crash loses orders and events.
Neither has the sweep, drain and limits of ours.
"""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from benchmarks import samples
from benchmarks.peers.plain_parts import Database, Publisher, start
from ordersys.api.order.v1.order_pb2 import OrderItem
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, CreateOrderResponse
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceServicer, OrderServiceStub
from ordersys.api.order.v1.order_service_pb2_grpc import add_OrderServiceServicer_to_server as add_orders
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest, PlaceOrderResponse
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceServicer
from ordersys.api.product.v1.product_service_pb2_grpc import add_ProductServiceServicer_to_server as add_products
from ordersys.contract.events import EventMessage
from ordersys.runtime.base.ids import now, uuid7

_WORKERS = 300  # threads: as many as calls that ours admits
_RESERVE = "UPDATE products SET available = available - ?1, held = held + ?1 WHERE product_id = ?2 AND available >= ?1"
_REQUEST = "INSERT INTO requests VALUES (?, zeroblob(16), ?, 0, NULL, ?)"
_PLACEMENT = "INSERT INTO placements VALUES (?, ?, ?, NULL, '{}')"
# As EventMessage has them; the table has more, with defaults.
_FIELDS = ("event_id", "type", "source", "subject", "time", "traceparent", "body")
_OUTBOX = f"INSERT INTO outbox ({', '.join(_FIELDS)}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_WAITING = f"SELECT sequence, {', '.join(_FIELDS)} FROM outbox ORDER BY sequence LIMIT 1000"


class Products(ProductServiceServicer):
    """Reserves stock, calls the Order Service, completes."""

    def __init__(self, guaranteed: bool) -> None:
        self._database = Database("product", guaranteed)
        self._orders: Any = OrderServiceStub(grpc.insecure_channel(os.environ["ORDERSYS_ORDER_SERVICE_ADDRESS"]))

    def PlaceOrder(self, request: PlaceOrderRequest, context: Any) -> PlaceOrderResponse:  # noqa: N802, D102
        order_id = uuid7()
        with self._database.transaction() as connection:
            connection.execute(_REQUEST, (request.request_id, order_id, now()))
            connection.executemany(_RESERVE, [(item.quantity, item.product_id) for item in request.items])
            connection.execute(_PLACEMENT, (order_id, request.request_id, True))
        items = [
            OrderItem(product_id=i.product_id, quantity=i.quantity, unit_price=samples.PRICE) for i in request.items
        ]
        ids = {"request_id": order_id, "order_id": order_id, "customer_id": request.customer_id}
        order = self._orders.CreateOrder(CreateOrderRequest(**ids, items=items)).order
        with self._database.transaction() as connection:
            connection.execute("UPDATE placements SET pending = 0 WHERE order_id = ?", (order_id,))
        return PlaceOrderResponse(order=order)


class Orders(OrderServiceServicer):
    """Creates orders; their events go through an outbox, or straight to the broker."""

    def __init__(self, guaranteed: bool) -> None:
        self._database = Database("order", guaranteed)
        self._guaranteed = guaranteed
        self._publisher = Publisher(guaranteed)
        if guaranteed:
            threading.Thread(target=self._relay, daemon=True).start()

    def CreateOrder(self, request: CreateOrderRequest, context: Any) -> CreateOrderResponse:  # noqa: N802, D102
        event, order = samples.created(request.order_id), samples.order(request.order_id, now())
        with self._database.transaction() as connection:
            connection.execute(_REQUEST, (request.request_id, request.order_id, now()))
            row = (request.order_id, request.customer_id, order.state, order.SerializeToString())
            connection.execute("INSERT INTO orders (order_id, customer_id, state, body) VALUES (?, ?, ?, ?)", row)
            if self._guaranteed:
                connection.execute(_OUTBOX, event)
        if not self._guaranteed:
            self._publisher.publish(event)
        return CreateOrderResponse(order=order)

    def _relay(self) -> None:
        """Publishes one event after the other: each is confirmed and deleted before the next."""
        while True:
            with self._database.transaction() as connection:
                rows = connection.execute(_WAITING).fetchall()
            for sequence, *row in rows:
                self._publisher.publish(EventMessage(*row))
                with self._database.transaction() as connection:
                    connection.execute("DELETE FROM outbox WHERE sequence = ?", (sequence,))
            time.sleep(0 if rows else 0.005)


def main(service: str, manner: str) -> None:
    """Serves until it is ended."""
    server = grpc.server(ThreadPoolExecutor(_WORKERS))
    if service == "order_service":  # a few RPCs are enough here
        add_orders(Orders(manner == "guaranteed"), server)  # type: ignore[abstract]
    else:
        add_products(Products(manner == "guaranteed"), server)  # type: ignore[abstract]
    start(server, service)
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
