"""The URLs of a broker, or of the nodes of a cluster."""

from ordersys.runtime.urls import each, place


def test_one_url_is_one() -> None:
    """As it stands."""
    assert each("amqp://u:p@h:1/%2F") == ["amqp://u:p@h:1/%2F"]


def test_several_are_taken_in_order() -> None:
    """Blanks around them are nothing."""
    assert each("amqp://a, amqp://b ,amqp://c") == ["amqp://a", "amqp://b", "amqp://c"]


def test_what_is_shown_of_them_has_no_password() -> None:
    """Host, port and virtual host of each."""
    assert place("amqp://u:secret@a/v,amqp://u:secret@b:1") == "a:5672/v, b:1"
