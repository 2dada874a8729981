"""The RabbitMQs the mutants use: started once, emptied before each."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pika

from ordersys.contract.topology import topology
from tests.running import addresses, local


@contextmanager
def brokers(count: int, given: str | None, folder: Path) -> Iterator[list[str]]:
    """The URLs of so many private RabbitMQs; where one is given, of that one alone."""
    if given:
        yield [given]
        return
    with ExitStack() as stack:
        started = [stack.enter_context(local(folder / str(number), "--broker-only")) for number in range(count)]
        yield [addresses(process)["ORDERSYS_AMQP_URL"] for process in started]


def empty(url: str) -> None:
    """Takes the topology of the contract out of a virtual host, whatever is in it."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in topology().queues:
        channel.queue_delete(queue.name)
    for exchange in topology().exchanges:
        channel.exchange_delete(exchange.name)
    connection.close()
