"""Targets: the processes of a running system, as Prometheus takes them."""

import json

from ordersys.contract.addresses import Address
from tools.observability import targets


def test_each_process_is_a_target_with_the_name_of_its_service() -> None:
    """The second process of a service has the name of the first."""
    at = {"order_service": 1, "order_service-2": 2, "notification_service_1": 3}
    text = targets.document({process: Address("127.0.0.1", port) for process, port in at.items()})
    assert json.loads(text) == [
        {"targets": ["127.0.0.1:1"], "labels": {"service": "order-service"}},
        {"targets": ["127.0.0.1:2"], "labels": {"service": "order-service"}},
        {"targets": ["127.0.0.1:3"], "labels": {"service": "notification-service-1"}},
    ]
