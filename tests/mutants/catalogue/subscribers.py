"""Subscribers that lose, repeat, mix up or choke on what they are delivered."""

from tests.mutants.mutant import LISTENER_1, LISTENER_2, Edit, Mutant

MUTANTS = (
    Mutant(
        "delivery-is-acknowledged-before-it-is-recorded",
        LISTENER_2,
        "A delivery is acknowledged when it comes, and recorded a moment later.",
        (
            Edit(
                "runtime.consumer",
                "dispositions = await self._record([tagged.delivery for tagged in portion], self._session)",
                "_settle(self._intake, portion, [Disposition.ACK] * len(portion))\n"
                "await asyncio.sleep(0.1)\n"
                "await self._record([tagged.delivery for tagged in portion], self._session)\n"
                "continue",
            ),
        ),
        caught_by="broker_trouble/nothing_is_acknowledged_before_it_is_recorded",
    ),
    Mutant(
        "duplicate-is-recorded-twice",
        LISTENER_1,
        "An event that is delivered again is recorded again.",
        (
            Edit("notification.store", "if recorded is not None:", "if False:"),
            Edit("notification.store", 'UniqueConstraint("consumer", "event_id"),', ""),
        ),
        caught_by="subscribers/an_event_that_comes_again_has_no_second_effect",
    ),
    Mutant(
        "poison-blocks-the-queue",
        LISTENER_2,
        "A delivery that can't be decoded keeps all others waiting.",
        (
            Edit(
                "notification.recorder",
                '_log.error("dead letter: %r: %s", delivery.message_id, error)',
                "await __import__('asyncio').sleep(3600)",
            ),
        ),
        caught_by="subscribers/poison_does_not_hold_up_what_is_healthy",
    ),
    Mutant(
        "poison-is-acknowledged",
        LISTENER_1,
        "A delivery that can't be decoded is dropped instead of dead-lettered.",
        (
            Edit(
                "notification.recorder",
                "dispositions = [Disposition.DEAD_LETTER] * len(deliveries)",
                "dispositions = [Disposition.ACK] * len(deliveries)",
            ),
        ),
        caught_by="subscribers/what_is_no_event_is_a_dead_letter_at_once",
    ),
    Mutant(
        "event-nobody-takes-is-acknowledged",
        LISTENER_1,
        "An event of the contract that this subscriber does not take is dropped instead of dead-lettered.",
        (Edit("notification.recorder", "return Disposition.DEAD_LETTER", "return Disposition.ACK"),),
        caught_by="subscribers/an_event_it_does_not_take_is_a_dead_letter",
    ),
    Mutant(
        "forged-event-is-acknowledged",
        LISTENER_2,
        "An event with the id of another and another body is taken for a duplicate.",
        (Edit("notification.store", "if recorded == event.body else", "if True else"),),
        caught_by="subscribers/an_id_that_comes_with_another_body_is_a_dead_letter",
    ),
    Mutant(
        "late-version-is-not-marked",
        LISTENER_2,
        "An older version that comes after a newer one is recorded as if it were news.",
        (Edit("notification.store", "late = event.version < newest", "late = False"),),
        caught_by="subscribers/an_older_version_is_recorded_as_late",
    ),
    Mutant(
        "late-version-is-dropped",
        LISTENER_2,
        "An older version that comes after a newer one is not recorded.",
        (
            Edit(
                "notification.store",
                "late = event.version < newest",
                "if late := event.version < newest:\n    return Recording.LATE",
            ),
        ),
        caught_by="subscribers/an_older_version_is_recorded_as_late",
    ),
    Mutant(
        "unknown-fields-are-refused",
        LISTENER_2,
        "An event of a newer publisher, with fields unknown here, is dead-lettered.",
        (
            Edit(
                "contract.events",
                "if broken := violations(message):",
                "if message.ByteSize() != (message.DiscardUnknownFields() or message.ByteSize()):\n"
                '    raise Undecodable("unknown fields")\n'
                "if broken := violations(message):",
            ),
        ),
        caught_by="subscribers/unknown_fields_of_an_event_are_accepted",
    ),
    Mutant(
        "broken-rule-is-recorded",
        LISTENER_1,
        "An event that breaks a rule of the contract is recorded.",
        (Edit("contract.events", "if broken := violations(message):", "if broken := []:"),),
        caught_by="subscribers/an_event_that_breaks_a_rule_is_a_dead_letter",
    ),
    Mutant(
        "id-that-is-no-text-is-recorded",
        LISTENER_1,
        "An event whose message_id is no UTF-8 is recorded, and no page that holds it can be answered.",
        (Edit("contract.events", "if not (value is None or isinstance(value, str)):", "if False:"),),
        caught_by="subscribers/what_is_recorded_can_be_answered_again",
    ),
    Mutant(
        "time-that-is-none-is-recorded",
        LISTENER_2,
        "An event whose times have nanos out of range is recorded, and no page that holds it can be written in JSON.",
        (Edit("contract.validation", "if not 0 <= getattr(message, name).nanos < money.NANOS:", "if False:"),),
        caught_by="subscribers/what_is_recorded_can_be_answered_again",
    ),
    Mutant(
        "total-is-taken-on-trust",
        LISTENER_1,
        "An event of an order whose total is not the sum of its items is recorded.",
        (
            Edit(
                "contract.validation",
                "if (total := money.nanos(getattr(message, items))) != amount.units * money.NANOS + amount.nanos:",
                "if total := 0:",
            ),
        ),
        caught_by="subscribers/an_event_of_an_order_that_can_not_be_is_a_dead_letter",
    ),
    Mutant(
        "deaf-subscriber-says-serving",
        LISTENER_1,
        "A subscriber without a connection to the broker says that it works.",
        (
            Edit(
                "notification.application",
                "database.probe() and consumer.works and dead_letters.works",
                "database.probe()",
            ),
        ),
        caught_by="health/a_subscriber_that_hears_nothing_is_not_serving",
    ),
    Mutant(
        "deaf-subscription-is-kept",
        LISTENER_2,
        "Who has heard nothing for a while believes that nothing was published.",
        (Edit("runtime.consumer", "return max(0.0, self._moved + _IDLE_SECONDS - time.monotonic())", "return 3600.0"),),
        caught_by="subscribers/a_queue_that_is_made_anew_is_consumed",
    ),
    Mutant(
        "undecodable-header-ends-the-connection",
        LISTENER_1,
        "What the AMQP library raises for a header is raised.",
        (
            Edit(
                "runtime.messages",
                "found = Properties(self.raw)",
                "found = pika.BasicProperties().decode(self.raw) and Properties(self.raw)",
            ),
        ),
        caught_by="subscribers/a_header_nobody_can_decode_costs_nothing",
    ),
)
