"""The environment, read."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.notification_service_1.__main__ import Settings as NotificationSettings1
from ordersys.notification_service_2.__main__ import Settings as NotificationSettings2
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ORDERS_FILE, PRODUCTS_FILE, ProductSettings
from ordersys.runtime.base.settings import PREFIX, InvalidSetting, described, misspelt, read
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.urls import shown
from ordersys.runtime.settings import Settings

KINDS = (Settings, OrderSettings, ProductSettings, NotificationSettings1, NotificationSettings2)
NUMBERS = {
    "grace_seconds": (0, 600),
    "max_concurrent_calls": (1, 100_000),
    "max_connections": (1, 100_000),
    "idle_seconds": (1, 86_400),
    "max_message_bytes": (32_768, 67_108_864),
    "max_metadata_bytes": (1024, 1_048_576),
    "publish_window": (1, 100_000),
    "request_retention_hours": (24, 8760),
    "token_keys_seconds": (5, 86_400),
    "call_timeout_seconds": (1, 300),
    "sweep_seconds": (1, 30),
}
WORDS = st.text(min_size=1).map(str.strip).filter(bool)


# Packages that know nothing of each other: what makes identities, the client, the library for RabbitMQ; and the
# launcher, which loads no service.
WRITTEN_AGAIN = {
    "ORDERSYS_CA_FILE": ["grpc_client/credentials", "identity/layout"],
    "ORDERSYS_TOKEN_FILE": ["grpc_client/credentials", "identity/layout"],
    "ORDERSYS_TLS_CERTIFICATE_FILE": ["identity/layout", "runtime/rabbitmq/tls"],
    "ORDERSYS_TLS_KEY_FILE": ["identity/layout", "runtime/rabbitmq/tls"],
    "ORDERSYS_ORDER_SERVICE_INTERNAL_ADDRESS": ["local/listening", "product_service/order_client"],
}


def test_the_name_of_a_variable_has_one_home() -> None:
    """Written once as a constant, and imported from there."""
    package = Path(__file__).parents[2] / "ordersys"
    homes: dict[str, list[str]] = {}
    for file in sorted(package.rglob("*.py")):
        module = str(file.relative_to(package).with_suffix(""))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(rf"{PREFIX}[A-Z0-9_]+", str(node.value)):
                homes.setdefault(str(node.value), []).append(module)
    assert homes["ORDERSYS_AMQP_URL"] == ["runtime/rabbitmq/urls"]
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == WRITTEN_AGAIN


def one(field: str, value: str, kind: type[Settings] = ProductSettings, **others: str) -> object:
    """The value of a setting when its variable has this value."""
    given = {field: value, **others}
    return getattr(read(kind, {PREFIX + name.upper(): text for name, text in given.items()}), field)


def complaint(field: str, value: str, kind: type[Settings] = ProductSettings) -> str:
    """The complaint about a value that can't be used."""
    with pytest.raises(InvalidSetting) as wrong:
        one(field, value, kind)
    return str(wrong.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_environment_gives_the_defaults(kind: type[Settings]) -> None:
    """Nothing has to be set."""
    assert read(kind, {}) == kind()


def test_the_defaults_are_those_of_a_machine_with_a_rabbitmq() -> None:
    """Loopback, a port a service, the shipped data."""
    product = read(ProductSettings, {})
    assert shown(product.amqp_url) == "127.0.0.1:5672/%2F"
    assert str(product.product_service_address) == "127.0.0.1:50051"
    assert str(product.order_service_address) == "127.0.0.1:50052"
    assert (product.products_file, product.orders_file) == (PRODUCTS_FILE, ORDERS_FILE)
    assert (product.log_level, product.reflection, product.data_dir) == ("info", False, Path("ordersys-data"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", ["", " ", "\t\n"])
def test_an_empty_value_is_the_default(kind: type[Settings], nothing: str) -> None:
    """So that a variable can be switched off where it can't be removed."""
    assert read(kind, {setting.variable: nothing for setting in described(kind)}) == kind()


def test_variables_of_others_are_left_alone() -> None:
    """Only what is declared is read."""
    assert read(Settings, {"GRACE_SECONDS": "x", "ORDERSYS_NO_SUCH": "x"}) == Settings()


@pytest.mark.parametrize("field", NUMBERS)
def test_a_number_is_taken_within_its_range_only(field: str) -> None:
    """Both ends are fine, whatever lies beyond is refused with both."""
    low, high = NUMBERS[field]
    assert [one(field, f" {number} ") for number in (low, high)] == [low, high]
    for number in (low - 1, high + 1):
        said = f"{PREFIX}{field.upper()} is '{number}' but must be a whole number from {low} to {high}"
        assert complaint(field, str(number)) == said


def test_the_prefetch_of_a_notification_service_has_a_range() -> None:
    """AMQP 0-9-1 would read 0 as without limit."""
    assert one("prefetch", "1", NotificationSettings1) == 1
    assert "from 1 to 10000" in complaint("prefetch", "0", NotificationSettings1)


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "1e2", "0x10", "+3", "1_0", "²", "٣", "10 s", "'10'", "9" * 5000])
def test_whatever_else_is_no_number(value: str) -> None:
    """Said in the words of the setting, however long the value is."""
    wanted = "without quotes around it" if "'" in value else "a whole number from 0 to 600"
    assert complaint("grace_seconds", value).endswith(f"but must be {wanted}")


@given(WORDS)
def test_any_text_is_a_number_in_range_or_a_wrong_setting(text: str) -> None:
    """No value ends in anything else."""
    try:
        assert one("grace_seconds", text) in range(601)
    except InvalidSetting as wrong:
        assert str(wrong).startswith(f"ORDERSYS_GRACE_SECONDS is {text!r} but must be ")


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("TRUE", True), ("false", False), ("False", False)])
def test_a_switch_is_true_or_false(value: str, meant: bool) -> None:
    """In any case of letters."""
    assert one("reflection", value) is meant


@pytest.mark.parametrize("value", ["1", "yes", "on", "truee"])
def test_a_switch_is_nothing_else(value: str) -> None:
    """No guessing what was meant."""
    assert complaint("reflection", value) == f"ORDERSYS_REFLECTION is {value!r} but must be true or false"


def test_a_level_is_one_of_four() -> None:
    """In any case of letters; whatever else is refused with the four."""
    assert [one("log_level", value) for value in ("Debug", "info", "WARNING", "error")] == [
        "debug",
        "info",
        "warning",
        "error",
    ]
    said = complaint("log_level", "loud")
    assert said == "ORDERSYS_LOG_LEVEL is 'loud' but must be one of debug, info, warning, error"


@pytest.mark.parametrize("value", ["localhost:1", "0.0.0.0:65535", "[::1]:50052"])
def test_an_address_is_a_host_and_a_port(value: str) -> None:
    """Names, IPv4 and IPv6, ports 1 to 65535."""
    assert str(one("order_service_address", value)) == value


@pytest.mark.parametrize(
    "value",
    [
        "localhost",
        "http://127.0.0.1:50052",
        "::1:50052",
        ":50052",
        "host:",
        "host:0",
        "host:65536",
        "host:x",
        "h:" + "1" * 5000,
    ],
)
def test_whatever_else_is_no_address(value: str) -> None:
    """Said with an example."""
    said = complaint("order_service_address", value)
    assert said.startswith(f"ORDERSYS_ORDER_SERVICE_ADDRESS is {value!r}")
    assert "but must be HOST:PORT " in said
    assert said.endswith(", such as 127.0.0.1:50051")


def test_two_services_have_two_addresses() -> None:
    """However they are written: the second one could not listen."""
    with pytest.raises(InvalidSetting) as wrong:
        one("product_service_address", "LOCALHOST:7", order_service_address="localhost:7")
    variables = "ORDERSYS_ORDER_SERVICE_ADDRESS and ORDERSYS_PRODUCT_SERVICE_ADDRESS"
    assert str(wrong.value) == f"{variables} are both localhost:7 but must be different"


def test_a_folder_and_a_file_are_paths() -> None:
    """As they stand, with any sign in them."""
    assert one("data_dir", "/var/lib/x y?#%20") == Path("/var/lib/x y?#%20")
    assert one("products_file", "p.json") == Path("p.json")


@pytest.mark.parametrize("field", ["data_dir", "products_file", "orders_file"])
def test_a_tilde_is_the_home_folder(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell has it: at the beginning only."""
    monkeypatch.setenv("HOME", "/home/anna")
    assert [one(field, value) for value in ("~", "~/x", "x~", "x/~")] == [
        Path("/home/anna"),
        Path("/home/anna/x"),
        Path("x~"),
        Path("x/~"),
    ]
    said = complaint(field, "~nobody-by-that-name/x")
    assert said.endswith("but must be a path; the home folder of '~nobody-by-that-name' is not known")


def test_two_slashes_at_the_beginning_are_one() -> None:
    """SQLite would take the first folder for the name of a machine."""
    assert one("data_dir", "//var/x") == Path("/var/x")
    assert str(one("data_dir", "//var/x")) == "/var/x"


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("field", ["data_dir", "log_level", "amqp_url", "order_service_address"])
def test_quotes_around_a_value_are_refused(field: str, quote: str) -> None:
    """A shell takes them away, and a file of variables does not: they would be part of a path."""
    assert complaint(field, f"{quote}x{quote}").endswith("must be without quotes around it")


URLS = ["amqp://h", "amqps://u:p@h:5671/%2F", "amqp://[::1]:5672/v"]


@pytest.mark.parametrize("value", [*URLS, ",".join(URLS), " , ".join(URLS)])
def test_an_amqp_url_is_one_or_one_for_each_node_of_a_cluster(value: str) -> None:
    """Read once, as it will be used."""
    assert one("amqp_url", value) == urls.parse(value)


SECRET = "geheim"
WRONG_URLS = [
    f"http://user:{SECRET}@host",
    f"amqp://user:{SECRET}@",
    f"amqp://user:12/{SECRET}@host",
    f"amqp://{SECRET}@host",
    f"amqp://user:{SECRET}@host/a/b",
    f"amqp://user:{SECRET}@host/?heartbeat=soon",
    SECRET,
]


@pytest.mark.parametrize("value", WRONG_URLS)
def test_a_wrong_secret_is_named_and_never_shown(value: str) -> None:
    """Neither in the text nor in what led to it."""
    with pytest.raises(InvalidSetting) as wrong:
        one("amqp_url", value)
    said = str(wrong.value)
    assert said.startswith(f"ORDERSYS_AMQP_URL must be {urls.WANTED}: it ")
    assert SECRET not in said
    assert wrong.value.__cause__ is None
    assert wrong.value.__suppress_context__


@pytest.mark.parametrize("value", [*WRONG_URLS, ""])
def test_of_several_urls_the_wrong_one_is_named_by_its_number(value: str) -> None:
    """It may hold a password."""
    said = complaint("amqp_url", f"amqp://u:{SECRET}@h,{value},amqp://h")
    assert said.startswith(f"ORDERSYS_AMQP_URL must be {urls.WANTED}: number 2 of 3 ")
    assert SECRET not in said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ORDERSYS_GRACE_SECOND", "ORDERSYS_GRACE_SECONDS"),
        ("ORDERSYS_LOGLEVEL", "ORDERSYS_LOG_LEVEL"),
        ("ORDERSYS_AMQP_URI", "ORDERSYS_AMQP_URL"),
        ("ORDERSYS_TLS_CERT", "ORDERSYS_TLS_CERTIFICATE_FILE"),
        ("ORDERSYS_TLS_KEY", "ORDERSYS_TLS_KEY_FILE"),
    ],
)
def test_a_variable_that_looks_like_a_setting_is_told(kind: type[Settings], variable: str, meant: str) -> None:
    """By every service: its value would be ignored without a word."""
    assert list(misspelt(kind, {variable: "x"})) == [(variable, meant)]


@pytest.mark.parametrize(
    ("kind", "variable", "meant"),
    [
        (OrderSettings, "ORDERSYS_ORDER_SERVICE_ADRESS", "ORDERSYS_ORDER_SERVICE_ADDRESS"),
        (ProductSettings, "ORDERSYS_ORDER_SERVICE_ADRESS", "ORDERSYS_ORDER_SERVICE_ADDRESS"),
        (ProductSettings, "ORDERSYS_SWEEP_SECOND", "ORDERSYS_SWEEP_SECONDS"),
        (NotificationSettings1, "ORDERSYS_PREFETSCH", "ORDERSYS_PREFETCH"),
        (NotificationSettings1, "ORDERSYS_NOTIFICATION_SERVICE1_ADDRESS", "ORDERSYS_NOTIFICATION_SERVICE_1_ADDRESS"),
    ],
)
def test_a_variable_that_looks_like_a_service_s_own_setting_is_told(
    kind: type[Settings], variable: str, meant: str
) -> None:
    """By whoever would have taken it."""
    assert list(misspelt(kind, {variable: "x"})) == [(variable, meant)]


@pytest.mark.parametrize("kind", KINDS)
def test_other_variables_are_not_told(kind: type[Settings]) -> None:
    """Those of other services, of the launcher, of the tests and of strangers."""
    known = [setting.variable for kind in KINDS for setting in described(kind)]
    others = ["ORDERSYS_CACHE_DIR", "ORDERSYS_TEST_AMQP_URL", "ORDERSYS_CRASH_POINT", "ORDERSYS_X", "GRACE_SECOND"]
    given = dict.fromkeys([*known, *others, "ORDERSYS_NOTIFICATION_SERVICE_3_ADDRESS"], "x")
    assert list(misspelt(kind, given)) == []


def test_a_variable_that_several_services_take_is_the_same_to_each() -> None:
    """Its default, and what it means: one environment is often given to all."""
    settings = {setting for kind in KINDS for setting in described(kind)}
    assert len(settings) == len({setting.variable for setting in settings})


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: type[Settings]) -> None:
    """Each by its variable, with its default and what it means, in order of declaration."""
    settings = list(described(kind))
    assert [setting.variable for setting in settings] == [PREFIX + field.name.upper() for field in fields(kind)]
    assert all(setting.meaning and setting.default for setting in settings)


@pytest.mark.parametrize("kind", KINDS)
def test_a_described_default_can_be_set(kind: type[Settings]) -> None:
    """The default that a person reads is one they may write."""
    assert read(kind, {setting.variable: setting.default for setting in described(kind)}) == kind()
