"""A virtual host the tests may use freely, and leave empty: named by ORDERSYS_TEST_AMQP_URL."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pika

from ordersys.contract.topology import topology

VARIABLE = "ORDERSYS_TEST_AMQP_URL"


def given() -> str | None:
    """The URL of the virtual host, none where the tests have to start a broker."""
    return os.environ.get(VARIABLE) or None


@contextmanager
def emptied(url: str) -> Iterator[str]:
    """Takes the topology of the contract out of a virtual host, before and afterwards."""
    _empty(url)
    try:
        yield url
    finally:
        _empty(url)


def _empty(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in topology().queues:
        channel.queue_delete(queue.name)
    for exchange in topology().exchanges:
        channel.exchange_delete(exchange.name)
    connection.close()
