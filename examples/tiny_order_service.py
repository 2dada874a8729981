"""An Order Service as one writes it in an afternoon, in plain grpcio: it works, and it does not keep the contract.

Kept to be judged (docs/conformance.md says how); the suite names what it gets wrong. Run it with

    python examples/tiny_order_service.py 127.0.0.1:50052
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from ordersys.api.order.v1 import order_service_pb2 as api
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server


class TinyOrderService(OrderServiceServicer):
    """Keeps orders in memory."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}

    def CreateOrder(self, request: api.CreateOrderRequest, context: grpc.ServicerContext) -> api.CreateOrderResponse:
        return api.CreateOrderResponse(order=self._create(request))

    def BatchCreateOrders(
        self, request: api.BatchCreateOrdersRequest, context: grpc.ServicerContext
    ) -> api.BatchCreateOrdersResponse:
        results = [api.CreateOrderResult(order=self._create(creation)) for creation in request.requests]
        return api.BatchCreateOrdersResponse(results=results)

    def UpdateOrder(self, request: api.UpdateOrderRequest, context: grpc.ServicerContext) -> api.UpdateOrderResponse:
        order = self._orders[request.order_id]
        if request.HasField("items"):
            order.items.clear()
            order.items.extend(request.items.items)
        else:
            order.state = request.state
        order.version += 1
        return api.UpdateOrderResponse(order=order)

    def GetOrder(self, request: api.GetOrderRequest, context: grpc.ServicerContext) -> api.GetOrderResponse:
        if request.order_id not in self._orders:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no order {request.order_id}")
        return api.GetOrderResponse(order=self._orders[request.order_id])

    def ListOrders(self, request: api.ListOrdersRequest, context: grpc.ServicerContext) -> api.ListOrdersResponse:
        orders = [o for o in self._orders.values() if request.customer_id in ("", o.customer_id)]
        return api.ListOrdersResponse(orders=orders[: request.page_size or 50])

    def _create(self, request: api.CreateOrderRequest) -> Order:
        order = Order(
            id=request.order_id,
            customer_id=request.customer_id,
            items=request.items,
            state=OrderState.ORDER_STATE_PLACED,
            version=1,
        )
        order.create_time.GetCurrentTime()
        order.update_time.GetCurrentTime()
        self._orders[order.id] = order
        return order


def main() -> None:
    """Serves until it is ended."""
    server = grpc.server(ThreadPoolExecutor(16))
    add_OrderServiceServicer_to_server(TinyOrderService(), server)
    health = HealthServicer()
    for name in ("", "liveness"):
        health.set(name, HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(health, server)
    server.add_insecure_port(sys.argv[1])
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
