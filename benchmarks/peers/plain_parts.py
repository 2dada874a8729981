"""Parts shared by the plain services: a connection to a database, one to the broker, a server that listens."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pika
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from benchmarks.baselines.messages import as_message, created_route
from ordersys.contract.events import EventMessage


class Database:
    """One connection behind a lock; durable commits where they are wanted."""

    def __init__(self, name: str, durable: bool) -> None:
        path = f"{os.environ['ORDERSYS_DATA_DIR']}/{name}.db"
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is committed at its end."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection


class Publisher:
    """A BlockingConnection behind a lock, with confirms where wanted."""

    def __init__(self, confirms: bool) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(os.environ["ORDERSYS_AMQP_URL"]))
        self._channel = self._connection.channel()
        self._lock = threading.Lock()
        if confirms:
            self._channel.confirm_delivery()

    def publish(self, event: EventMessage) -> None:
        """Publishes one event."""
        message = as_message(event)
        with self._lock:
            self._channel.basic_publish(*created_route(), message.body, message.properties)


def start(server: grpc.Server, service: str) -> None:
    """Serves at the address of `service`, SERVING at once."""
    health = HealthServicer()
    health.set("", health_pb2.HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(health, server)
    server.add_insecure_port(os.environ[f"ORDERSYS_{service.upper()}_ADDRESS"])
    server.start()
