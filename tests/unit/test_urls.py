"""The URLs of a broker, or of the nodes of a cluster."""

import ssl
from pathlib import Path
from urllib.parse import quote

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.runtime.rabbitmq.urls import WANTED, parse, shown

SECRET = "geheim"
GOOD = {
    "amqp://h": ("h", 5672, "/", "h:5672/%2F"),
    "amqp://h/": ("h", 5672, "/", "h:5672/%2F"),
    "AMQP://H:1/v": ("h", 1, "v", "h:1/v"),
    "amqp://u:geheim@h:5673/%2F": ("h", 5673, "/", "h:5673/%2F"),
    "amqp://u:geheim@h:5673/a%2Fb%20c%40d": ("h", 5673, "a/b c@d", "h:5673/a%2Fb%20c%40d"),
    "amqp://u:geheim@[::1]:5673/v": ("::1", 5673, "v", "[::1]:5673/v"),
    "amqp://u:geheim@[::1]": ("::1", 5672, "/", "[::1]:5672/%2F"),
    "amqps://u:geheim@h/%2F": ("h", 5671, "/", "h:5671/%2F"),
    "amqps://u:geheim@h:5672/%2F": ("h", 5672, "/", "h:5672/%2F"),
    "amqp://u:geheim@localhost:5672/%C3%BC": ("localhost", 5672, "ü", "localhost:5672/%C3%BC"),
}
BLANK = "has a blank or a control character in it; a blank is %20"
FIRST = "has a / or ? before an @: in a user, password or virtual host / is %2F, ? is %3F, @ is %40"
PORT = "needs HOST:PORT with a port from 1 to 65535"
UNKNOWN = "has an option that is not known; there are only ssl_options and server_name_indication"
NO_DICTIONARY = "has ssl_options that are no such thing as {'cafile':'/path/ca.pem'}"
WRONG = {
    "": "is empty",
    "geheim": "does not begin with amqp:// or amqps://",
    "http://u:geheim@h": "does not begin with amqp:// or amqps://",
    "amqp:u:geheim@h": "does not begin with amqp:// or amqps://",
    "amqpx://u:geheim@h": "does not begin with amqp:// or amqps://",
    '"amqp://u:geheim@h"': "does not begin with amqp:// or amqps://",
    "amqp://u:geheim@": "needs HOST:PORT with a host",
    "amqp://": "needs HOST:PORT with a host",
    "amqp:///v": "needs HOST:PORT with a host",
    "amqp://u:geheim@h:": "needs HOST:PORT with a port",
    "amqp://u:geheim@h:x": PORT,
    "amqp://u:geheim@h:0": PORT,
    "amqp://u:geheim@h:70000": PORT,
    "amqp://u:geheim@h:1_0": PORT,
    "amqp://u:geheim@[::1": "needs HOST:PORT with a port behind the brackets",
    "amqp://u:geheim@[h]:1": "needs HOST:PORT with brackets around an IPv6 address only",
    "amqp://u:geheim@::1:5672": "needs HOST:PORT with an IPv6 address in brackets",
    "amqp://u:geheim": PORT,
    "amqp://u@h/%2F": "has no password, nor a : behind the user",
    "amqp://u:@h/%2F": "has no password",
    "amqp://:geheim@h/%2F": "has no user before the @",
    "amqp://@h/%2F": "has no user before the @",
    f"amqp://{'u' * 256}:geheim@h/%2F": "has a user of more than 255 octets",
    "amqp://u:12/geheim@h:5672/%2F": FIRST,
    "amqp://u:geheim/x@h/%2F": FIRST,
    "amqp://u:geheim?x@h/%2F": FIRST,
    "amqp://h/geheim@x": FIRST,
    "amqp://u:geh@eim@h/%2F": "has more than one @; in a user or password it is %40",
    "amqp://u:geh:eim@h/%2F": "has more than one : before the @; in a user or password it is %3A",
    "amqp://u:geh#eim@h/%2F": "has a # in it, which is %23",
    "amqp://u:geheim@h/%2F#geheim": "has a # in it, which is %23",
    "amqp://u:100%geheim@h/%2F": "has a % without two hexadecimal digits behind it; a % itself is %25",
    "amqp://u:geheim%@h/%2F": "has a % without two hexadecimal digits behind it; a % itself is %25",
    "amqp://u:geheim%FF@h/%2F": "has octets behind % that are not UTF-8",
    "amqp://u:geheim%00@h/%2F": "has %00 in it",
    "amqp://u:geheim h@h/%2F": BLANK,
    "amqp://u:gehei\nm@h/%2F": BLANK,
    "amqp://u:geheim\x00@h/%2F": BLANK,
    "amqp://ü:geheim@h/%2F": (
        "has a character that is not ASCII, which is written as its octets in UTF-8, such as %C3%BC"
    ),
    "amqp://u:geheim@h/a/b": "has a / in the virtual host, where it is %2F",
    "amqp://u:geheim@h//": "has a / in the virtual host, where it is %2F",
    "amqp://u:geheim@h/a/": "has a / in the virtual host, where it is %2F",
    "amqp://u:geheim@h/" + "a" * 256: "has a virtual host of more than 255 octets",
    "amqp://u:geheim@h/%2F?geheim=1": UNKNOWN,
    "amqp://u:geheim@h/%2F?geheim": UNKNOWN,
    "amqp://u:geheim@h?connection_timeout=30000": UNKNOWN,
    "amqp://u:geheim@h?backpressure_detection=t": UNKNOWN,
    "amqps://u:geheim@h?&": UNKNOWN,
    "amqp://u:geheim@h/%2F?ssl_options=x": "has ssl_options, which belongs to amqps://",
    "amqps://u:geheim@h/%2F?ssl_options=x": NO_DICTIONARY,
    "amqps://u:geheim@h/%2F?ssl_options={}": NO_DICTIONARY,
    "amqps://u:geheim@h/%2F?ssl_options=": NO_DICTIONARY,
    "amqps://u:geheim@h?ssl_options={'cafile':'a'}&ssl_options={'cafile':'b'}": "has ssl_options twice",
    "amqps://u:geheim@h/%2F?ssl_options={'cafile':'/none'}": (
        "has ssl_options that name a file that can't be read (No such file or directory)"
    ),
    "amqps://u:geheim@h/%2F?ssl_options={'cafile':geheim}": "has ssl_options that can't be used",
    "amqps://u:geheim@h/%2F?ssl_options={'ca_certs':'/dev/zero'}": (
        "has ssl_options that name a file that can't be read (is no regular file)"
    ),
    "amqps://u:geheim@h/%2F?ssl_options={'certfile':'geheim'}": (
        "has ssl_options that name a file that can't be read (No such file or directory)"
    ),
    "amqps://u:geheim@h/%2F?ssl_options={'cafile':['geheim']}": "has ssl_options that can't be used",
    "amqp://u:geheim@h?server_name_indication=x": "has server_name_indication, which belongs to amqps://",
    "amqps://u:geheim@h?server_name_indication=": "has a server_name_indication that is no name of a host",
    "amqps://u:geheim@h?server_name_indication=a/geheim": "has a server_name_indication that is no name of a host",
    "amqps://u:geheim@h?server_name_indication=a&server_name_indication=b": "has server_name_indication twice",
    "amqps://u:geheim@h?server_name_indication=a&ssl_options={'server_hostname':'b'}": (
        "has server_name_indication and, in ssl_options, server_hostname; leave one of them out"
    ),
}
SET_BY_US = {
    "heartbeat": "soon",
    "frame_max": "1",
    "channel_max": "99999999",
    "connection_attempts": "0",
    "tcp_options": "x",
    "blocked_connection_timeout": "1",
    "socket_timeout": "1",
    "stack_timeout": "1",
    "retry_delay": "1",
    "client_properties": "{}",
    "locale": "x",
}


def complaint(text: str) -> str:
    """The complaint about URLs that can't be used."""
    with pytest.raises(ValueError, match="AMQP URL") as wrong:
        parse(text)
    assert wrong.value.__cause__ is None
    assert wrong.value.__suppress_context__
    assert SECRET not in repr(wrong.value)
    return str(wrong.value).removeprefix(f"{WANTED}: ")


@pytest.mark.parametrize("text", GOOD)
def test_what_is_used_and_shown_is_what_pika_reads(text: str) -> None:
    """Host, port and virtual host, the port of the scheme included; never a password."""
    (url,) = parse(text)
    host, port, virtual_host, text_shown = GOOD[text]
    assert (url.parameters.host, url.parameters.port, url.parameters.virtual_host) == (host, port, virtual_host)
    assert (str(url), shown((url,))) == (text_shown, text_shown)
    assert SECRET not in f"{url!r}{url}"
    assert (url.parameters.ssl_options is None) == text.lower().startswith("amqp://")


@pytest.mark.parametrize("text", WRONG)
def test_whatever_else_is_refused_by_what_is_wrong_with_it(text: str) -> None:
    """One reason, with the way to write it; not a letter of the URL, which may hold a password anywhere."""
    assert complaint(text) == f"it {WRONG[text]}"


@pytest.mark.parametrize("option", SET_BY_US)
@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_an_option_that_would_be_overwritten_is_refused(scheme: str, option: str) -> None:
    """Named, as it is pika's and no secret."""
    said = complaint(f"{scheme}://u:{SECRET}@h/%2F?{option}={SET_BY_US[option]}")
    assert said == f"it has the option {option}, which is not for a URL to decide; leave it out"


def test_a_name_among_the_tls_options_that_pika_would_ignore_is_refused() -> None:
    """It may be meant to check more than is checked."""
    for name in ("cert_reqs", "protocol", "verify"):
        said = complaint(f"amqps://u:{SECRET}@h?ssl_options={{'{name}':2}}")
        assert said.startswith("it has ssl_options with a name that is none of ca_certs, ca_data, ca_path, cadata, ")


def test_a_file_of_certificates_is_read_at_once(tmp_path: Path) -> None:
    """So that a file without any is told before anything starts."""
    authorities = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    if Path(authorities).exists():
        (url,) = parse(f"amqps://u:{SECRET}@h/v?ssl_options={{'cafile':'{authorities}'}}")
        assert (str(url), url.parameters.ssl_options is not None) == ("h:5671/v", True)
    (tmp_path / "none.pem").write_text("no certificate")
    said = complaint(f"amqps://u:{SECRET}@h?ssl_options={{'cafile':'{tmp_path}/none.pem'}}")
    assert said == "it has ssl_options that name a file that holds no certificate of an authority in PEM"


@pytest.mark.parametrize("user", ["/", "#", "?", "@", ":", "%", "ü", " ", "a/b@c:d?e#f"])
def test_a_user_and_a_password_may_hold_anything_when_they_are_quoted(user: str) -> None:
    """Sign by sign what pika gives to the broker."""
    (url,) = parse(f"amqp://{quote(user, safe='')}:{quote(user[::-1], safe='')}@h/%2F")
    assert isinstance(url.parameters.credentials, pika.PlainCredentials)
    assert (url.user, url.parameters.credentials.password) == (user, user[::-1])


def test_without_a_user_it_is_the_guest_every_rabbitmq_has() -> None:
    """As pika has it."""
    (url,) = parse("amqp://h")
    assert isinstance(url.parameters.credentials, pika.PlainCredentials)
    assert (url.user, url.parameters.credentials.password) == ("guest", "guest")


def test_encrypted_and_without_a_user_it_is_the_one_in_the_certificate() -> None:
    """With a user in the URL it is that one, whatever certificate there is."""
    (external,), (named,) = parse("amqps://h"), parse(f"amqps://u:{SECRET}@h")
    assert (external.is_external, external.user) == (True, "")
    assert (named.is_external, named.user) == (False, "u")


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("", None),
        ("?server_name_indication=rabbitmq", "rabbitmq"),
        ("?ssl_options={'server_hostname':'rabbitmq'}", "rabbitmq"),
    ],
)
def test_the_name_expected_of_the_broker_is_that_of_the_option(option: str, name: str | None) -> None:
    """Without one pika takes the host's. Chain and name are always checked."""
    (url,) = parse(f"amqps://u:{SECRET}@127.0.0.1{option}")
    given = url.fresh().ssl_options
    assert given is not None and given.context is not None
    assert (given.server_hostname, given.context.check_hostname) == (name, True)
    assert given.context.verify_mode is ssl.CERT_REQUIRED
    assert given.context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_several_are_taken_in_order() -> None:
    """Blanks around them are nothing."""
    assert shown(parse("amqp://a, amqp://u:geheim@b:1/v ,amqps://c")) == "a:5672/%2F, b:1/v, c:5671/%2F"


@pytest.mark.parametrize("text", WRONG)
def test_of_several_the_wrong_one_is_named_by_its_number(text: str) -> None:
    """A comma in a password makes two of one, so the way to write it stands there, too."""
    said = complaint(f"amqp://u:{SECRET}@h,{text},amqp://h")
    assert said.startswith("number 2 of ")
    assert said.endswith(" (inside a URL a comma is %2C)")


@pytest.mark.parametrize(("text", "number"), [("amqp://h,", 2), (",amqp://h", 1), ("amqp://h,,amqp://h", 2), (",", 1)])
def test_an_empty_one_among_several_is_refused(text: str, number: int) -> None:
    """Nothing is left out in silence."""
    assert complaint(text).startswith(f"number {number} of {text.count(',') + 1} is empty")


def test_a_password_with_a_comma_is_two_wrong_urls() -> None:
    """Of which the first has a port that is none."""
    assert complaint(f"amqp://u:{SECRET},x@h").startswith("number 1 of 2 needs HOST:PORT with a port")


@given(st.text() | st.builds("{}://{}".format, st.sampled_from(["amqp", "amqps"]), st.text()))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    """Nothing ends in anything else, and what is shown can be parsed again."""
    try:
        parsed = parse(text)
    except ValueError:
        return
    assert shown(parse(",".join(f"amqp://{url}" for url in parsed))) == shown(parsed)
