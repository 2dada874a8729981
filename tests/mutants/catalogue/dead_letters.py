"""Dead letters that get lost, go astray or are not told the truth about."""

from tests.mutants.mutant import LISTENER_1, LISTENER_2, Edit, Mutant

MUTANTS = (
    Mutant(
        "listing-takes-dead-letters-away",
        LISTENER_1,
        "Only what was not listed before is listed.",
        (
            Edit(
                "notification.service",
                "return ListDeadLettersResponse(",
                "await self._database.write(\n"
                "    lambda connection, all_: [DEAD_LETTERS.remove(connection, one) for one in all_],\n"
                "    [one.sequence for one in page.letters],\n"
                ")\n"
                "return ListDeadLettersResponse(",
            ),
        ),
        caught_by="dead_letters/listing_takes_nothing_away",
    ),
    Mutant(
        "dead-letters-lose-their-obstacle",
        LISTENER_2,
        "What can't be decoded is said to be taken now.",
        (Edit("notification.recorder", "return str(error)", 'return ""'),),
        caught_by="dead_letters/what_it_could_not_take_is_listed_with_the_reason",
    ),
    Mutant(
        "replay-is-published-anew",
        LISTENER_1,
        "A replayed dead letter goes to the exchange, and so to everybody.",
        (Edit("runtime.messages", 'return Message("", queue,', 'return Message("orders.created", "order.created",'),),
        caught_by="dead_letters/a_replay_is_for_this_subscriber_alone",
    ),
    Mutant(
        "replay-keeps-the-dead-letter",
        LISTENER_2,
        "A replayed dead letter stays a dead letter.",
        (
            Edit(
                "notification.requests",
                "DEAD_LETTERS.remove(connection, gone)",
                "pass",
            ),
        ),
        caught_by="dead_letters/a_replayed_dead_letter_is_recorded",
    ),
    Mutant(
        "replay-loses-the-properties",
        LISTENER_1,
        "A replayed dead letter has no headers any more.",
        (
            Edit(
                "contract.properties",
                'kept["headers"] = headers',
                'del kept["headers"]',
            ),
        ),
        caught_by="dead_letters/a_replay_is_the_same_to_the_byte",
    ),
    Mutant(
        "all-dead-letters-are-taken-out",
        LISTENER_2,
        "Whoever names one dead letter gets them all.",
        (
            Edit(
                "runtime.dead_letters",
                "self._named = Statement(select(t.sequence, t.letter_id, t.size).where(ids)",
                "self._named = Statement(select(t.sequence, t.letter_id, t.size).where(ids | (t.size > 0))",
            ),
        ),
        caught_by="dead_letters/a_discarded_dead_letter_is_gone_and_no_other",
    ),
    Mutant(
        "repeated-replay-is-done-again",
        LISTENER_1,
        "A repeated request looks for its dead letters again.",
        (Edit("notification.removals", "return outcome or await", "return await"),),
        caught_by="idempotency/a_repeated_request_is_answered_as_at_first",
    ),
    Mutant(
        "dead-letters-stay-in-the-broker",
        LISTENER_2,
        "Dead letters are taken over only while somebody else looks at the broker.",
        (Edit("notification.application", "await database.write(DEAD_LETTERS.keep, deliveries)", "pass"),),
        caught_by="dead_letters/what_it_could_not_take_is_listed_with_the_reason",
    ),
    Mutant(
        "replay-is-decoded-and-encoded",
        LISTENER_2,
        "The headers of a replayed dead letter are what the AMQP library makes of them.",
        (
            Edit(
                "runtime.messages",
                "RawProperties.of(for_a_copy(properties))",
                "pika.BasicProperties().decode(for_a_copy(properties))",
            ),
        ),
        caught_by="dead_letters/a_replay_is_the_same_to_the_byte",
    ),
    Mutant(
        "replay-is-sent-on-to-others",
        LISTENER_1,
        "A replayed dead letter goes to the queues its header CC names, too.",
        (Edit("contract.properties", "_OF_THE_BROKER | _ROUTING", "_OF_THE_BROKER"),),
        caught_by="dead_letters/a_replay_goes_to_nobody_its_headers_name",
    ),
    Mutant(
        "time-of-death-is-taken-as-it-is",
        LISTENER_1,
        "A dead letter that died beyond the year 9999 is listed with a time that JSON can't say.",
        (Edit("notification.letters", "and _FIRST <= seconds <= _LAST else", "else"),),
        caught_by="dead_letters/whatever_is_wrong_with_a_dead_letter_it_can_be_dealt_with",
    ),
)
