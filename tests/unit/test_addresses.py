"""HOST:PORT, read."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.contract.addresses import Address, InvalidAddress, channel_options, parse, parse_any

GOOD = {
    "127.0.0.1:50051": Address("127.0.0.1", 50051),
    "localhost:1": Address("localhost", 1),
    "0.0.0.0:65535": Address("0.0.0.0", 65535),  # noqa: S104 - nothing is bound
    "[::1]:50052": Address("::1", 50052),
    "[::]:50052": Address("::", 50052),
    "[2001:db8::a]:50052": Address("2001:db8::a", 50052),
    "order-service:50052": Address("order-service", 50052),
    "shop_order_1:50052": Address("shop_order_1", 50052),
    "order.shop.example:50052": Address("order.shop.example", 50052),
    "order.shop.example.:50052": Address("order.shop.example.", 50052),
    "3com:50052": Address("3com", 50052),
}
WRONG = {
    "": "with a host",
    "localhost": "with a port",
    "host:": "with a port",
    "[::1]": "with a port behind the brackets",
    "[::1]50052": "with a port behind the brackets",
    "[::1": "with a port behind the brackets",
    ":50051": "with a host",
    "host:0": "with a port from 1 to 65535",
    "host:65536": "with a port from 1 to 65535",
    "host:99999": "with a port from 1 to 65535",
    "host:http": "with a port from 1 to 65535",
    "host:+1": "with a port from 1 to 65535",
    "host:-1": "with a port from 1 to 65535",
    "host:1_0": "with a port from 1 to 65535",
    "host:080": "with a port from 1 to 65535",
    "host:٣": "with a port from 1 to 65535",
    "host:²": "with a port from 1 to 65535",
    "host:" + "1" * 5000: "with a port from 1 to 65535",
    "http://127.0.0.1:50052": "without a scheme",
    "dns:///127.0.0.1:50052": "without a scheme",
    "127.0.0.1:50052/": "without a path",
    "unix:/tmp/socket": "without a path",
    "user@host:1": "without a user",
    "127.0.0.1 :50052": "without blanks",
    "host:1\n": "without blanks",
    "::1:50052": "with an IPv6 address in brackets ([::1]:50052)",
    "::1": "with an IPv6 address in brackets ([::1]:PORT)",
    "2001:db8::1:50052": "with an IPv6 address in brackets ([2001:db8::1]:50052)",
    "host:1:2": "with a single colon",
    "[127.0.0.1]:50052": "with brackets around an IPv6 address only",
    "[host]:50052": "with brackets around an IPv6 address only",
    "[fe80::1%eth0]:50052": "with brackets around an IPv6 address only",
    "*:50052": "with a host; all interfaces are 0.0.0.0 or [::]",
    "unix:50052": "with another host: gRPC takes unix: for a kind of address",
    "DNS:50052": "with another host: gRPC takes dns: for a kind of address",
    "127.1:50052": "with four numbers from 0 to 255 in an IPv4 address",
    "127.0.0.256:50052": "with four numbers from 0 to 255 in an IPv4 address",
    "127.0.0.1.:50052": "with four numbers from 0 to 255 in an IPv4 address",
    "127.0.0.01:50052": "with four numbers from 0 to 255 in an IPv4 address",
    "0x7f000001:50052": "with four numbers from 0 to 255 in an IPv4 address",
    "bücher.example:50052": "with a host name of ASCII letters, digits, hyphens and dots",
    "a..b:50052": "with a host name of ASCII letters, digits, hyphens and dots",
    "-a:50052": "with a host name of ASCII letters, digits, hyphens and dots",
    "a?b:50052": "with a host name of ASCII letters, digits, hyphens and dots",
    "host#:50052": "with a host name of ASCII letters, digits, hyphens and dots",
    "a" * 64 + ":1": "with a host name of ASCII letters, digits, hyphens and dots",
    "a." * 127 + "a:1": "with a host name of ASCII letters, digits, hyphens and dots",
}


@pytest.mark.parametrize("text", GOOD)
def test_an_address_is_a_host_and_a_port(text: str) -> None:
    """Names, IPv4, IPv6 in brackets; its text is what was read."""
    assert parse(text) == GOOD[text]
    assert str(parse(text)) == text


@pytest.mark.parametrize("text", WRONG)
def test_whatever_else_is_refused_with_the_way_out(text: str) -> None:
    """The refusal says what an address must be, what of that is missing, and an example; the caller adds its name."""
    with pytest.raises(ValueError, match="HOST:PORT") as wrong:
        parse(text)
    assert str(wrong.value) == f"HOST:PORT {WRONG[text]}, such as 127.0.0.1:50051"


@pytest.mark.parametrize(
    ("text", "same"), [("LocalHost:1", "localhost:1"), ("[0:0:0:0:0:0:0:1]:1", "[::1]:1"), ("[2001:DB8::A]:1", None)]
)
def test_addresses_that_mean_the_same_read_the_same(text: str, same: str | None) -> None:
    """So that two services on one address can be told."""
    assert parse(text) == parse(same or text.lower())


@pytest.mark.parametrize(
    ("text", "host", "port"), [("h", "h", 7), ("h:1", "h", 1), ("[::1]", "::1", 7), ("[::1]:1", "::1", 1)]
)
def test_a_port_may_be_known_without_being_said(text: str, host: str, port: int) -> None:
    """As in a URL, whose scheme has one."""
    assert parse(text, 7) == Address(host, port)


@pytest.mark.parametrize("text", ["h:", "h:0", "[::1]:", "[::1]7", "::1", ":7", ""])
def test_a_known_port_excuses_nothing_else(text: str) -> None:
    """A colon wants a port behind it."""
    with pytest.raises(InvalidAddress):
        parse(text, 7)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    """Nothing ends in anything else, and what is read is read again from its own text."""
    try:
        address = parse(text)
    except ValueError:
        return
    assert parse(str(address)) == address


LOOPBACK = ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "LOCALHOST.:1", "a.localhost:1", "[::1]:1", "0.0.0.0:1"]


@pytest.mark.parametrize("text", [*LOOPBACK, "[::]:1", "[::ffff:127.0.0.1]:1"])
def test_a_proxy_is_never_asked_for_loopback(text: str) -> None:
    """It would look on its own machine; whoever connects to a wildcard reaches this machine as well."""
    assert parse(text).is_loopback
    assert channel_options(parse(text)) == (("grpc.enable_http_proxy", 0),)


@pytest.mark.parametrize("text", ["10.0.0.1:1", "example.org:1", "localhost.example.org:1", "[2001:db8::1]:1"])
def test_a_proxy_of_the_environment_is_used_for_what_leaves_the_machine(text: str) -> None:
    """A proxy that somebody has set is wanted for that."""
    assert not parse(text).is_loopback
    assert channel_options(parse(text)) == ()


@pytest.mark.parametrize("text", GOOD)
def test_a_channel_can_be_made_to_every_address(text: str) -> None:
    """gRPC reads the text in the same way."""
    address = parse(text)
    grpc.insecure_channel(str(address), options=channel_options(address)).close()


def test_one_address_and_several_are_used_alike() -> None:
    """Each has its list and the name gRPC takes; a list of one is that one."""
    alone, several = parse_any("Localhost:1"), parse_any("127.0.0.1:1, 127.0.0.1:2")
    assert alone == Address("localhost", 1)
    assert alone.each == (alone,)
    assert alone.target == "localhost:1"
    assert several.each == (Address("127.0.0.1", 1), Address("127.0.0.1", 2))
    assert several.target == "ipv4:127.0.0.1:1,127.0.0.1:2"
    assert parse_any(str(several)) == several
