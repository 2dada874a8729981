"""A subscriber that the contract adds: its records are shown like those of the others, or the page says why not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from ordersys.api.notification.v1.notification_log_pb2 import (
    ListNotificationsRequest,
    ListNotificationsResponse,
    Notification,
)
from ordersys.api.notification.v1.notification_log_pb2_grpc import (
    NotificationLogServicer,
    add_NotificationLogServicer_to_server,
)
from ordersys.contract import topology
from ordersys.grpc_client.peers import PEERS, variable
from ordersys.live import serving
from ordersys.live.serving import Look, look

SECONDS = 30.0
EVENT = Notification(sequence=1, event_id="e.1", order_id="e", version=1)


@pytest.fixture(autouse=True)
def contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract with one subscriber more, and nobody at the addresses of the services."""
    subscribed = topology.subscriptions()
    third = replace(subscribed[-1], consumer="audit", queue="audit.v1", dead_letter_queue="audit.dead-letters.v1")
    EVENT.event.type_url = f"type.googleapis.com/{next(iter(third.handlers))}"
    monkeypatch.setattr(serving, "subscriptions", lambda: (*subscribed, third))
    for peer in PEERS:
        monkeypatch.setenv(variable(peer.module), "127.0.0.1:1")


class Log(NotificationLogServicer):
    """A log with one record."""

    async def ListNotifications(self, request: ListNotificationsRequest, context: Any) -> ListNotificationsResponse:
        """The record, to whoever has not read it."""
        return ListNotificationsResponse(notifications=[] if request.page_token else [EVENT])


class GrowingLog(NotificationLogServicer):
    """A log that grows faster than anybody can read it once its first record has been read."""

    async def ListNotifications(self, request: ListNotificationsRequest, context: Any) -> ListNotificationsResponse:
        """The next record; none where somebody looks for its end."""
        if request.page_size == 1:
            return ListNotificationsResponse()
        if not request.page_token:
            return ListNotificationsResponse(notifications=[EVENT])
        number = int(request.page_token) if request.page_token.isdecimal() else 2
        following = Notification(event=EVENT.event, sequence=number, event_id=f"e{number}.1", version=1)
        return ListNotificationsResponse(notifications=[following], next_page_token=str(number + 1))


@asynccontextmanager
async def subscriber(log: type[NotificationLogServicer] = Log) -> AsyncIterator[str]:
    """The address of a subscriber that is well."""
    server, servicer = grpc.aio.server(), health.HealthServicer()
    await servicer.set("", HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(servicer, server)
    add_NotificationLogServicer_to_server(log(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def shown(looked_at: Look, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The document as soon as it is as wanted."""
    sources = asyncio.create_task(looked_at.sources.run())
    try:
        async with asyncio.timeout(SECONDS):
            with looked_at.board.reader():
                document: dict[str, Any] = {}
                number = 0
                while not (document and wanted(document)):
                    change = await looked_at.board.after(number, SECONDS)
                    number = change.number
                    document.update(change.sections)
                return document
    finally:
        sources.cancel()
        await asyncio.wait([sources])


async def test_the_records_of_a_new_subscriber_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the address in its variable, named as those of the others are; and so is its health."""
    async with subscriber() as address:
        monkeypatch.setenv("ORDERSYS_AUDIT_ADDRESS", address)
        document = await shown(look(None), lambda d: d["events"] and any(s["well"] for s in d["services"]))
    (event,) = document["events"]
    assert set(event["heard"]) == {"audit"}
    assert {service["name"]: service["well"] for service in document["services"]}["audit"]
    assert "log of audit" not in {trouble["source"] for trouble in document["troubles"]}


async def test_a_new_subscriber_of_which_nobody_knows_where_it_is_is_said_to_be_one() -> None:
    """And nothing waits for what it may have recorded."""
    looked_at = look(None)
    document = await shown(looked_at, lambda d: len(d["troubles"]) > 1)
    (reason,) = [trouble["reason"] for trouble in document["troubles"] if trouble["source"] == "log of audit"]
    assert "ORDERSYS_AUDIT_ADDRESS" in reason
    kind = EVENT.event.type_url.rpartition("/")[2]
    assert "audit" not in looked_at.sources._facts.ledger.takers(kind)
    assert looked_at.sources._facts.ledger.takers(kind)


async def test_a_log_that_is_read_later_than_it_grows_is_named_by_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not go on to say what they said before."""
    growing, short = list(topology.subscriptions())[:2]
    said: list[str] = []

    def wanted(document: dict[str, Any]) -> bool:
        checks = document["checks"]["checks"]
        said.extend(check["verdict"] for check in checks if check["subject"] == "records")
        return "even" in said and all(growing.consumer in check["sentence"] for check in checks)

    async with subscriber(GrowingLog) as address, subscriber() as other:
        monkeypatch.setenv(variable(growing.consumer.replace("-", "_")), address)
        monkeypatch.setenv(variable(short.consumer.replace("-", "_")), other)
        checks = (await shown(look(None), wanted))["checks"]
    assert {checks["verdict"], *(check["verdict"] for check in checks["checks"])} == {"unknown"}
    assert not any(short.consumer in check["sentence"] for check in checks["checks"])
