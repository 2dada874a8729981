"""Queues that lose what they hold: declared so by every service, whoever is first."""

from tests.mutants.mutant import ALL, Edit, Mutant

MUTANTS = (
    Mutant(
        "queues-are-transient",
        ALL,
        "A queue does not survive the broker it is in.",
        (
            Edit(
                "runtime.declaring",
                "queue=queue.name, durable=True, arguments=dict(queue.arguments)",
                "queue=queue.name, durable=False",
            ),
        ),
        caught_by="live_topology/every_queue_is_there_as_the_contract_states_it",
    ),
    Mutant(
        "dead-letters-have-nowhere-to-go",
        ALL,
        "A queue is declared without its dead-letter queue.",
        (
            Edit(
                "runtime.declaring",
                "arguments=dict(queue.arguments)",
                'arguments={k: v for k, v in queue.arguments.items() if "dead-letter" not in k}',
            ),
        ),
        caught_by="live_topology/every_queue_is_there_as_the_contract_states_it",
    ),
    Mutant(
        "fanout-exchange-feeds-nobody",
        ALL,
        "The fanout exchange is not bound to the topic exchange.",
        (Edit("runtime.declaring", "if binding.to_exchange:", "if binding.to_exchange:\n    return\nif False:"),),
        caught_by="live_topology/a_creation_published_once_reaches_both_subscribers",
    ),
)
