"""Dead letters that get lost, go astray or are not told the truth about."""

from tests.mutants.mutant import LISTENER_1, LISTENER_2, Edit, Mutant

MUTANTS = (
    Mutant(
        "listing-takes-dead-letters-away",
        LISTENER_1,
        "What was listed is acknowledged instead of given back.",
        (Edit("runtime.dead_letters", "self.session.release()", "self.session.ack(0, multiple=True)"),),
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
                "runtime.dead_letters",
                "walk.remove([letter.tag for letter, done in settled if done])",
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
                "runtime.messages",
                "{k: v for k, v in delivery.headers.items() if not k.startswith(_OF_THE_BROKER)}",
                "{}",
            ),
        ),
        caught_by="dead_letters/a_replay_of_what_can_not_be_taken_comes_back",
    ),
    Mutant(
        "all-dead-letters-are-taken-out",
        LISTENER_2,
        "Whoever names one dead letter gets them all.",
        (Edit("runtime.dead_letters", "lambda _, delivery: letter_id(delivery) in ids", "lambda _, delivery: True"),),
        caught_by="dead_letters/a_discarded_dead_letter_is_gone_and_no_other",
    ),
    Mutant(
        "repeated-replay-is-done-again",
        LISTENER_1,
        "A repeated request looks for its dead letters again.",
        (Edit("notification.service", "if outcome is None:", "if True:"),),
        caught_by="idempotency/a_repeated_request_is_answered_as_at_first",
    ),
)
