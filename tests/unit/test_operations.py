"""The commands of the operations page do what the page says."""

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from ordersys.identity.authority import Authority
from ordersys.identity.layout import Layout
from ordersys.notification_service.settings import NotificationSettings
from ordersys.order_service.settings import OrderSettings
from ordersys.order_service.store import OUTBOX
from ordersys.product_service.settings import ProductSettings
from ordersys.product_service.store import tables
from ordersys.runtime.base.settings import described, read
from ordersys.runtime.settings import Settings

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")


def block(heading: str, number: int = 0) -> str:
    """One of the shell blocks below a heading of the page."""
    below = PAGE.split(f"\n{heading}\n", 1)[1]
    return str(re.findall(r"```sh\n(.+?)\n```", below, re.DOTALL)[number])


def assigned(lines: str) -> dict[str, str]:
    """The variables that a shell would set by these lines."""
    pairs = re.findall(r"(?:^|\s)(ORDERSYS_\w+)=('[^']*'|\S+)", lines)
    return {name: value.strip("'").replace("…", "word") for name, value in pairs}


def test_the_outbox_is_looked_into_by_the_command_of_the_page(tmp_path: Path) -> None:
    """The rows that wait of an order, and why; of no other order."""
    (command,) = re.findall(r"```sh\n( +python -c .+?)\n +```", PAGE, re.DOTALL)
    with closing(sqlite3.connect(tmp_path / "order.db")) as db:
        for table in (OUTBOX.table, OUTBOX.late):
            db.execute(f"CREATE TABLE {table.name} ({', '.join(column.name for column in table.columns)})")
        db.execute("INSERT INTO outbox (event_id, subject) VALUES ('ORDER.2', 'ORDER')")
        late = [("ORDER.1", "ORDER", 3, "too large"), ("other.1", "other", 3, "too large")]
        db.executemany("INSERT INTO outbox_late (event_id, subject, attempts, reason) VALUES (?, ?, ?, ?)", late)
        db.commit()
    typed = command.replace("DATA/", f"{tmp_path}/")
    done = subprocess.run([shutil.which("sh") or "/bin/sh", "-c", typed], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["('ORDER.2', 'not tried yet')", "('ORDER.1', '3 tries; too large')"]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The identities that the page takes to be there."""
    authority = Authority.make(tmp_path_factory.mktemp("identity") / "identity")
    authority.renew()
    return authority.layout


def test_a_product_service_of_which_all_is_yours_takes_its_settings(layout: Layout, tmp_path: Path) -> None:
    """Each line is a setting that it reads; of the broker it is the user of its certificate."""
    given = assigned(block("## All of it yours"))
    url = tmp_path / "database-url"
    url.write_text(
        "postgresql://orders:word@pg-a:5432,pg-b:5432/orders?sslmode=verify-full&sslrootcert=system", encoding="utf-8"
    )
    url.chmod(0o600)
    folder = layout.certificate("product-service").parent
    places = {"ca.pem": layout.ca, "certificate.pem": folder / "certificate.pem", "key.pem": folder / "key.pem"}
    places["database-url"] = url
    given = {name: str(places.get(Path(value).name, value)) for name, value in given.items()}
    known = {setting.variable for setting in described(ProductSettings)}
    assert {name if name in known else name.removesuffix("_FILE") for name in given} <= known
    assert [broker.user for broker in read(ProductSettings, given).amqp_url] == ["product-service"] * 3


@pytest.mark.parametrize(
    ("service", "kind"),
    [
        ("order-service", OrderSettings),
        ("notification-service-1", NotificationSettings),
        ("product-service", ProductSettings),
    ],
)
def test_the_services_of_two_machines_are_users_of_their_own(
    layout: Layout, service: str, kind: type[Settings]
) -> None:
    """So subscribers believe their events without being told to believe anybody."""
    lines = block("### Several processes of a service").replace("\\\n", " ").splitlines()
    (started,) = [line for line in lines if line.endswith(f"-m ordersys.{service.replace('-', '_')} &")]
    given = assigned(" ".join([*(line for line in lines if line.startswith("export ")), started]))
    given |= {**layout.service_environment(service), "ORDERSYS_AMQP_CA_FILE": str(layout.ca)}
    assert [broker.user for broker in read(kind, given).amqp_url] == [service] * 3


def test_the_products_without_balance_are_those_that_the_query_of_the_page_names() -> None:
    """Held for nothing, or too few for the reservations of orders and the sagas that are pending."""
    query, _ = re.findall(r"```sql\n(.+?)\n +```", PAGE, re.DOTALL)  # the other one is for PostgreSQL
    with closing(sqlite3.connect(":memory:")) as db:
        for table in (tables.PRODUCTS, tables.RESERVATIONS, tables.SAGAS):
            db.execute(f"CREATE TABLE {table.name} ({', '.join(column.name for column in table.columns)})")
        held = [("even", 5), ("free", 0), ("more", 4), ("fewer", 1)]
        db.executemany("INSERT INTO products (product_id, held) VALUES (?, ?)", held)
        db.execute("INSERT INTO reservations VALUES ('1', ?)", [tables.stored({"even": 3, "more": 3})])
        db.execute("INSERT INTO reservations VALUES ('2', ?)", [tables.stored({"fewer": 2})])
        db.execute("INSERT INTO sagas (order_id, reserved) VALUES ('3', ?)", [tables.stored({"even": 2})])
        assert set(db.execute(query)) == {("more", 4, 1), ("fewer", 1, -1)}
