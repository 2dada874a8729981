"""Events that are lost, come too early, twice, to the wrong place or in the wrong words."""

from tests.mutants.mutant import ORDER, PRODUCT, Edit, Mutant

MUTANTS = (
    Mutant(
        "unconfirmed-event-is-forgotten",
        ORDER,
        "An event leaves the outbox although the broker hiccuped before it confirmed.",
        (
            Edit(
                "runtime.relay",
                "for event, outcome in zip(ready, outcomes, strict=True) if outcome == CONFIRMED]",
                "for event in ready]",
            ),
        ),
        caught_by="broker_trouble/a_creation_the_broker_did_not_keep_is_published_again",
    ),
    Mutant(
        "confirm-is-not-awaited",
        ORDER,
        "An event counts as published once it is written to the connection.",
        (
            Edit("runtime.broker", "await self._answer(self._confirms.settled, lambda: window.steps)", "pass"),
            Edit("runtime.broker", "if window.confirmed and not impossible:", "if True:"),
        ),
        caught_by="broker_trouble/an_event_whose_confirm_is_lost_comes_again_under_its_id",
    ),
    Mutant(
        "unroutable-event-counts-as-published",
        ORDER,
        "An event that no queue took is forgotten.",
        (Edit("runtime.broker", "self._confirms.returned(properties.message_id)", "pass"),),
        caught_by="broker_trouble/a_creation_the_broker_did_not_keep_is_published_again",
    ),
    Mutant(
        "nobody-asks-for-unroutable-events",
        ORDER,
        "The broker drops an event that no queue takes, and confirms it.",
        (Edit("runtime.frames", '_MANDATORY = b"\\x01"', '_MANDATORY = b"\\x00"'),),
        caught_by="broker_trouble/a_creation_the_broker_did_not_keep_is_published_again",
    ),
    Mutant(
        "nacked-event-counts-as-published",
        ORDER,
        "An event the broker refused to keep is forgotten.",
        (
            Edit(
                "runtime.confirms",
                "self._nacked.update(self._settle(tag, multiple), [tag])",
                "self._settle(tag, multiple)",
            ),
        ),
        caught_by="broker_trouble/a_creation_the_broker_did_not_keep_is_published_again",
    ),
    Mutant(
        "change-waits-for-the-broker",
        ORDER,
        "A change is answered when its event is published, and not at all while the broker is away.",
        (
            Edit(
                "order_service.service",
                'crash_point("order.changed")',
                "import asyncio\nwhile await self._database.read(store.OUTBOX.waiting):\n    await asyncio.sleep(0.01)",
            ),
        ),
        caught_by="broker_trouble/orders_are_taken_while_the_broker_is_away",
    ),
    Mutant(
        "event-comes-before-its-commit",
        ORDER,
        "An event is published in the transaction that changes what it tells of, before it is committed.",
        (
            Edit(
                "order_service.store",
                "OUTBOX.append(self._connection, self._events)",
                "if self._events:\n    PUBLISH(self._events)",
            ),
            Edit(
                "order_service.__main__",
                "stack.push_async_callback(relay.close)",
                "stack.push_async_callback(relay.close)\n"
                "from ordersys.contract.topology import events as known, publication\n"
                "from ordersys.runtime.outbox import Waiting\n"
                "routed = lambda events: [Waiting(0, e, publication(known()[e.type]), False) for e in events]\n"
                "loop = asyncio.get_running_loop()\n"
                "store.PUBLISH = lambda events: asyncio.run_coroutine_threadsafe(\n"
                "    asyncio.wait_for(publisher.publish(routed(events)), 5), loop\n"
                ").result()",
            ),
        ),
        caught_by="broker_trouble/nothing_is_published_before_it_can_be_read",
    ),
    Mutant(
        "event-is-published-twice-under-two-ids",
        ORDER,
        "Each event is published a second time, under another id.",
        (
            Edit(
                "runtime.relay",
                "outcomes = await self._publisher.publish(events)",
                "again = [e._replace(event=e.event._replace(event_id=f'{e.event.event_id}.again')) for e in events]\n"
                "await self._publisher.publish(again)\n"
                "outcomes = await self._publisher.publish(events)",
            ),
        ),
        caught_by="events/a_creation_is_heard_once_on_each_exchange",
    ),
    Mutant(
        "creation-misses-the-fanout-exchange",
        ORDER,
        "A creation is published to the topic exchange only.",
        (
            Edit(
                "runtime.messages",
                "return Message(to.exchange,",
                'return Message("orders.events",',
            ),
        ),
        caught_by="events/a_creation_is_heard_once_on_each_exchange",
    ),
    Mutant(
        "creation-has-another-routing-key",
        ORDER,
        "A creation carries the routing key order.placed, so that nobody at the topic exchange takes it.",
        (
            Edit(
                "runtime.messages",
                "to.routing_key, event.body",
                "to.routing_key.replace('created', 'placed'), event.body",
            ),
        ),
        caught_by="events/the_properties_of_a_message_are_those_of_the_contract",
    ),
    Mutant(
        "refusal-publishes-nothing",
        PRODUCT,
        "A placement refused for want of stock has no event.",
        (
            Edit(
                "product_service.store.placements",
                "self._events.append(self._rejected(asked, order_id, short))",
                "pass",
            ),
        ),
        caught_by="rejections/a_refusal_for_want_of_stock_is_heard_once_on_the_topic_exchange_only",
    ),
    Mutant(
        "event-tells-of-the-order-before",
        ORDER,
        "An update's event has the order as it was, not as it became.",
        (
            Edit(
                "order_service.store",
                "body = response + _what_changed(before.order, order)",
                "body = around(before.body) + _what_changed(before.order, order)",
            ),
        ),
        caught_by="events/a_change_is_heard_once_on_the_topic_exchange_only",
    ),
    Mutant(
        "message-is-transient",
        ORDER,
        "A message is published with delivery_mode 1.",
        (Edit("runtime.messages", "Mode.Persistent.value", "Mode.Transient.value"),),
        caught_by="events/the_properties_of_a_message_are_those_of_the_contract",
    ),
    Mutant(
        "content-type-is-another",
        PRODUCT,
        "The content type of a message is not the contract's.",
        (Edit("runtime.messages", "short_string(CONTENT_TYPE)", 'short_string("application/x-protobuf")'),),
        caught_by="rejections/a_refusal_for_want_of_stock_is_heard_once_on_the_topic_exchange_only",
    ),
    Mutant(
        "timestamp-is-in-milliseconds",
        ORDER,
        "The timestamp of a message is a thousand times too large.",
        (Edit("runtime.messages", "event.time // 1_000_000", "event.time // 1_000"),),
        caught_by="events/the_properties_of_a_message_are_those_of_the_contract",
    ),
    Mutant(
        "subject-is-missing",
        ORDER,
        "A message does not say which order it is about.",
        (Edit("runtime.messages", "cloudEvents:subject", "cloudEvents:sbuject"),),
        caught_by="events/the_properties_of_a_message_are_those_of_the_contract",
    ),
    Mutant(
        "trace-is-lost",
        PRODUCT,
        "An order's events belong to another trace than the call that placed it.",
        (Edit("product_service.service", "traceparent(metadata(context, TRACEPARENT))", "traceparent()"),),
        caught_by="traces/an_event_belongs_to_the_trace_of_the_call",
    ),
    Mutant(
        "trace-of-a-later-version-is-lost",
        ORDER,
        "A trace context of a version that is not known counts as none.",
        (
            Edit(
                "runtime.identity",
                'found is None or (found["version"] == "00" and found["more"])',
                'found is None or found["version"] != "00"',
            ),
        ),
        caught_by="traces/a_trace_context_of_a_later_version_is_read_as_far_as_it_is_known",
    ),
    Mutant(
        "trace-of-a-later-version-goes-on-as-it-came",
        ORDER,
        "A trace context is sent on as a version whose rules are not known.",
        (Edit("runtime.identity", "return f\"00-{found['ids']}", "return f\"{found['version']}-{found['ids']}"),),
        caught_by="traces/a_trace_context_of_a_later_version_is_read_as_far_as_it_is_known",
    ),
)
