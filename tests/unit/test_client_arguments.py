"""Arguments of the client: read strictly, and answered in one line that names them, before anything is sent."""

import json
import sys
from collections.abc import Sequence

import pytest

from ordersys.console.parser import UsageError
from ordersys.contract.addresses import Address
from ordersys.grpc_client import arguments, command_line, discovery

NOWHERE = "127.0.0.1:1"
WRONG_ADDRESSES = {
    f"{NOWHERE}/": "without a path",
    f"http://{NOWHERE}": "without a scheme",
    "::1:50051": "brackets",
    "localhost": "with a port",
    "127.0.0.1:99999": "65535",
    "127.0.0.1:": "with a port",
    "127.0.0.1:http": "65535",
    "": "with a host",
    "\x1b[31m": "HOST:PORT",
}
SERVICES = ("product-service", "order-service", "notification-service-1", "notification-service-2")
ID = "0" * 32


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> tuple[str, str]:
    """The client's standard output and error for these arguments; wrong usage it must be."""
    monkeypatch.setattr(sys, "argv", ["client", *words])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 2
    written = capsys.readouterr()
    return written.out, written.err


WRONG: dict[tuple[str, ...], Sequence[str]] = {
    ("--timeout", "3"): ("a COMMAND is missing",),
    ("burn",): ("there is no command 'burn'",),
    ("products", "all"): ("unrecognized", "all"),
    ("products", "\x1b[31m\u202e"): ("unrecognized", "\\x1b[31m\\u202e"),
    ("restock", "lamp", "99999999999"): ("QUANTITY", "'99999999999'", "from -1,000,000 to 1,000,000, and not 0"),
    ("restock", "lamp", "0"): ("QUANTITY", "and not 0"),
    ("restock", "lamp", "1_000"): ("QUANTITY", "'1_000'"),
    ("restock", "lamp", "9" * 5000): ("QUANTITY", "'" + "9" * 60 + "'…"),
    ("restock", "Lamp", "1"): ("PRODUCT 'Lamp'", "lower-case"),
    ("product", ""): ("PRODUCT ''",),
    ("product", "\x1b[31m"): ("PRODUCT '\\x1b[31m'",),
    ("place",): ("nothing to place", "--file"),
    ("place", "lamp"): ("'lamp' must be PRODUCT=QUANTITY",),
    ("place", "lamp=0"): ("'lamp=0': quantity", "1000"),
    ("place", "lamp=1", "lamp=2"): ("each product may stand only once",),
    ("place", "lamp=1", "--customer", ""): ("--customer ''",),
    ("place", "lamp=1", "--customer", "a" * 100_000): ("--customer", "1 to 64"),
    ("place", "lamp=1", "--request-id", "seven"): ("--request-id", "'seven' must be a UUID", "leave it out"),
    ("place", "lamp=1", "--batch", "b"): ("--batch", "--file"),
    ("place", "lamp=1", "--file", "f"): ("PRODUCT=QUANTITY", "beside --file"),
    ("place", "--file", "f", "--customer", "x", "--request-id", ID[:8] + "-0000-4000-8000-" + ID[:12]): (
        "--customer and --request-id",
        "beside --file",
    ),
    ("place", "--file", ""): ("--file", "empty"),
    ("place", "--file", "f", "--batch", ""): ("--batch", "empty"),
    ("place", "--file", "no\x1b[31m\nfile"): ("no\\x1b[31m\\nfile: No such file or directory",),
    ("update", ID): ("either",),
    ("update", ID, "lamp=1", "--state", "paid"): ("either",),
    ("update", "seven", "--state", "paid"): ("ORDER 'seven'", "UUID"),
    ("update", ID, "--state", "placed"): ("--state", "'placed'"),
    ("cancel", "seven"): ("ORDER 'seven'", "UUID"),
    ("cancel", ID, "--expected-version", "0"): ("--expected-version", "from 1 to"),
    ("cancel", ID, "--expected-version", "9223372036854775808"): ("--expected-version", "9,223,372,036,854,775,807"),
    ("order", "seven"): ("ORDER 'seven'",),
    ("orders", "--customer", ""): ("--customer", "empty"),
    ("orders", "--customer", "A B"): ("--customer 'A B'",),
    ("orders", "--limit", "0"): ("--limit", "from 1 to"),
    ("orders", "--limit", "-1"): ("--limit", "from 1 to"),
    ("orders", "--limit", "nan"): ("--limit", "'nan'"),
    ("orders", "--limit", "2147483648"): ("--limit", "2,147,483,647"),
    ("notifications", "--order", "seven"): ("--order 'seven'", "UUID"),
    ("notifications", "--order", ""): ("--order", "empty"),
    ("notifications", "--service", "3"): ("--service", "3"),
    ("dead-letters", "replay"): ("dead-letters", "--all"),
    ("dead-letters", "replay", ID, "--all"): ("dead-letters", "--all"),
    ("dead-letters", "replay", "seven"): ("'seven' must be 32 hexadecimal digits",),
    ("dead-letters", "list", ID): ("dead-letters replay",),
    ("dead-letters", "discard", "--all", "--limit", "3"): ("--limit is for listing",),
    ("demo", "--orders", "0"): ("--orders", "from 1 to 1,000,000"),
    ("--timeout", "0", "products"): ("--timeout", "above 0"),
    ("--timeout", "nan", "products"): ("--timeout", "'nan'"),
    ("--timeout", "inf", "products"): ("--timeout", "'inf'"),
    ("--timeout", "1e400", "products"): ("--timeout", "86,400 at most"),
    ("--timeout", "86401", "products"): ("--timeout", "86,400 at most"),
    ("product", "\udcff"): ("argument 2", "'\\udcff'", "UTF-8"),
    ("order", "\udcff"): ("argument 2", "UTF-8"),
    ("place", "lamp=1", "--customer", "\udcff"): ("argument 4", "UTF-8"),
    ("place", "lamp=1", "--request-id", "\udcff"): ("argument 4", "UTF-8"),
    ("place", "--file", "\udcff.json"): ("argument 3", "UTF-8"),
}


@pytest.mark.parametrize("words", WRONG, ids=lambda words: ascii(" ".join(words))[:60])
def test_what_cant_be_meant_is_answered_by_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    """Exit status 2, nothing on standard output, nothing that commands a terminal."""
    out, err = run(monkeypatch, capsys, words)
    assert out == ""
    assert err.endswith("\n") and err[:-1].isprintable()
    for named in WRONG[tuple(words)]:
        assert named in err


@pytest.mark.parametrize("words", WRONG, ids=lambda words: ascii(" ".join(words))[:60])
def test_programs_are_told_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    """One document, in the form every error has; nothing beside it."""
    out, err = run(monkeypatch, capsys, ["--json", *words])
    assert err == ""
    error = json.loads(out)["error"]
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "WRONG_USAGE")
    assert set(error) == {"code", "reason", "message", "metadata", "details"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("address", WRONG_ADDRESSES, ids=ascii)
def test_a_wrong_address_is_wrong_usage_and_names_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, service: str
) -> None:
    """Not a service that does not answer."""
    _, err = run(monkeypatch, capsys, [f"--{service}", address, "products"])
    assert f"--{service}" in err and WRONG_ADDRESSES[address] in err
    assert err[:-1].isprintable()


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("address", [address for address in WRONG_ADDRESSES if address], ids=ascii)
def test_a_wrong_address_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, service: str
) -> None:
    """An empty one is none."""
    variable = f"ORDERSYS_{service.replace('-', '_').upper()}_ADDRESS"
    monkeypatch.setenv(variable, address)
    _, err = run(monkeypatch, capsys, ["products"])
    assert variable in err and WRONG_ADDRESSES[address] in err
    monkeypatch.setenv(variable, "")
    assert discovery.address_of(service.replace("-", "_"), Address("127.0.0.1", 7)).each[0].port == 7


@pytest.mark.parametrize("words", [["--help"], ["place", "--help"]])
def test_help_says_what_the_exit_statuses_are_and_how_a_file_is_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """On standard output, with 0."""
    monkeypatch.setattr(sys, "argv", ["client", *words])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert not ended.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert ("may be placed again at any time" if "place" in words else "141 whoever read the output has gone") in said


def test_text_that_the_locale_cant_read_is_read_as_utf_8() -> None:
    """Under LC_ALL=POSIX every letter beyond ASCII comes as bytes."""
    assert arguments.decoded(["ü".encode().decode("ascii", "surrogateescape"), "a"]) == ["ü", "a"]
    with pytest.raises(UsageError, match=r"^argument 2, 'a\\udcff', is not UTF-8$"):
        arguments.decoded(["a", "a\udcff"])


def test_ids_may_be_typed_in_upper_case() -> None:
    """They are sent as the contract has them."""
    assert arguments.dead_letter("AB" * 16) == "ab" * 16
    assert arguments.request_id("ABCDEF00-0000-4000-8000-000000000000") == "abcdef00-0000-4000-8000-000000000000"
    assert arguments.seconds("0.5") == arguments.seconds(".5") == 0.5
