"""Refusals of RabbitMQ: which permission is missing, what stands in the way, the way out."""

import pytest

from ordersys.runtime.rabbitmq.refusals import explained

QUEUE, EXCHANGE = "queue 'q' in vhost '/'", "exchange 'e' in vhost '/'"


@pytest.mark.parametrize(
    ("code", "text", "method", "named"),
    [
        (403, f"ACCESS_REFUSED - access to {QUEUE} refused for user 'u'", "queue_declare", "configure and read"),
        (403, f"ACCESS_REFUSED - access to {EXCHANGE} refused for user 'u'", "exchange_declare", "configure"),
        (403, f"ACCESS_REFUSED - access to {EXCHANGE} refused for user 'u'", "", "the write permission"),
        (403, f"ACCESS_REFUSED - access to topic 'k' in {EXCHANGE} refused", "", "set_topic_permissions"),
        (406, f"PRECONDITION_FAILED - inequivalent arg 'x' for {QUEUE}", "queue_declare", "is there already"),
        (405, f"RESOURCE_LOCKED - cannot obtain exclusive access to {QUEUE}", "queue_declare", "another connection"),
    ],
)
def test_a_refusal_names_what_is_missing_and_the_way_out(code: int, text: str, method: str, named: str) -> None:
    """And what the broker said itself."""
    assert named in explained(code, text, method)
    assert text in explained(code, text, method)


def test_a_limit_is_no_queue_that_is_there_otherwise() -> None:
    """The same code for another reason: nobody is told to delete what is not there."""
    text = "PRECONDITION_FAILED - cannot declare queue 'q': queue limit in vhost '/' (1) is reached"
    assert explained(406, text, "queue_declare") == f"406 {text}"
