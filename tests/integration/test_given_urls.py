"""A URL with a password that the launcher is given: services read it from a file, and nobody sees it otherwise."""

import secrets
import stat
import sys
from pathlib import Path

import psutil
import pytest

from ordersys.local import ports
from ordersys.local.system import Choices, System
from tests.integration.api import Api, eventually
from tests.integration.conftest import quietly, skip_without_rabbitmq


@pytest.mark.timeout(300)
def test_a_password_is_in_the_environment_of_no_service_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in the place of one has it there: it need not know files. One that the shell names is of no account."""
    skip_without_rabbitmq()
    monkeypatch.setenv("ORDERSYS_AMQP_URL_FILE", str(tmp_path / "none"))
    password = secrets.token_hex(8)
    with System(tmp_path / "broker", quietly, Choices(services=(), secure=False)) as broker:
        (node,) = broker.nodes
        node.control("add_user", "shop", password)
        node.control("set_permissions", "shop", ".*", ".*", ".*")
        url = f"amqp://shop:{password}@{ports.LOOPBACK}:{node.port}/%2F"
        program = ("env", sys.executable, "-m", "ordersys.order_service")
        choices = Choices(amqp_url=url, programs={"order_service": program}, secure=False)
        with System(tmp_path / "system", quietly, choices) as system, Api(system.environment) as api:
            environments = {name: psutil.Process(service.pid).environ() for name, service in system.services.items()}
            assert {name for name, own in environments.items() if password in str(own)} == {"order_service"}
            file = Path(environments["product_service"]["ORDERSYS_AMQP_URL_FILE"])
            assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (url, 0o600)
            order = api.place({"paper-a4": 1})
            eventually(lambda: api.heard(1, order.id))
        assert not file.exists()
