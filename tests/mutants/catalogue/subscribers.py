"""Subscribers that lose, repeat, mix up or choke on what they are delivered."""

from tests.mutants.mutant import LISTENER_1, LISTENER_2, Edit, Mutant

MUTANTS = (
    Mutant(
        "delivery-is-acknowledged-before-it-is-recorded",
        LISTENER_2,
        "A delivery is acknowledged when it comes, and recorded afterwards.",
        (
            Edit(
                "runtime.consumer",
                "dispositions = await self._decide(session, portion)",
                "_settle(session, portion, [Disposition.ACK] * len(portion))\n"
                "await self._decide(session, portion)\n"
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
            Edit("notification.store", "if event.event_id in self._bodies:", "if False:"),
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
                "runtime.consumer",
                "except Undecodable as error:",
                "except Undecodable as error:\n    await asyncio.sleep(3600)",
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
                "runtime.consumer",
                "dispositions = [Disposition.DEAD_LETTER] * len(portion)",
                "dispositions = [Disposition.ACK] * len(portion)",
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
        (Edit("notification.store", "same = self._bodies[event.event_id] == event.body", "same = True"),),
        caught_by="subscribers/an_id_that_comes_with_another_body_is_a_dead_letter",
    ),
    Mutant(
        "late-version-is-not-marked",
        LISTENER_2,
        "An older version that comes after a newer one is recorded as if it were news.",
        (Edit("notification.store", "late = event.version < self._newest.get(event.order_id, 0)", "late = False"),),
        caught_by="subscribers/an_older_version_is_recorded_as_late",
    ),
    Mutant(
        "late-version-is-dropped",
        LISTENER_2,
        "An older version that comes after a newer one is not recorded.",
        (
            Edit(
                "notification.store",
                "late = event.version < self._newest.get(event.order_id, 0)",
                "if late := event.version < self._newest.get(event.order_id, 0):\n    return Recording.LATE",
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
        "deaf-subscriber-says-serving",
        LISTENER_1,
        "A subscriber without a connection to the broker says that it works.",
        (Edit("notification.application", "database.probe() and consumer.live", "database.probe()"),),
        caught_by="health/a_subscriber_that_hears_nothing_is_not_serving",
    ),
)
