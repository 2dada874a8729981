"""The doctor itself stands what it examines."""

import argparse
import os
import re
import tomllib
from pathlib import Path

import pytest

from ordersys.grpc_client import discovery, doctor, outcome
from ordersys.grpc_client.peers import PEERS, variable
from ordersys.local import environment, ports, state

ROOT = Path(__file__).parent.parent.parent
NO_FLAGS = dict.fromkeys((peer.module for peer in PEERS), None)


def test_every_dependency_is_examined() -> None:
    """Those of pyproject.toml that every system needs: a command that misses one sends people here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w.-]+", text) for text in project["dependencies"] if ";" not in text]
    assert [name[0] for name in names if name] == list(doctor.PACKAGES)


def test_stubs_that_refuse_to_be_imported_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one by an exception of its own kind, such as protobuf's VersionError."""

    def refuse(_: str) -> None:
        raise Exception("stubs of\n 9.0")  # noqa: TRY002 - as protobuf does

    monkeypatch.setattr(doctor, "import_module", refuse)
    (stubs,) = [finding for finding in doctor._installation() if finding.subject == "stubs"]
    assert (stubs.state, stubs.text) == (doctor.WRONG, "stubs of 9.0")


@pytest.mark.parametrize("name", ["x" * 300, "file/below"])
def test_a_data_folder_that_can_not_be_examined_is_a_finding(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is too long, or it is below a file."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(state.DATA_DIR, str(tmp_path / name))
    findings = list(doctor._data_dir())
    assert [finding.state for finding in findings] == [doctor.WRONG]


def test_a_data_folder_is_read_as_a_service_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the home folder, and not there yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(state.DATA_DIR, "~/data")
    assert list(doctor._data_dir()) == []
    (tmp_path / "data").mkdir(mode=0o700)
    assert [finding.text for finding in doctor._data_dir()] == [str(tmp_path / "data")]


def test_one_node_of_a_cluster_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are noted; none that answers is wrong."""
    monkeypatch.setenv(environment.AMQP_URL, "amqp://a,amqp://b")
    monkeypatch.setattr(
        environment,
        "brokers",
        lambda _: [environment.Broker("a", answers=False), environment.Broker("b", answers=True)],
    )
    assert [finding.state for finding in doctor._broker(None)] == [doctor.NOTE, doctor.OK]
    monkeypatch.setattr(environment, "brokers", lambda _: [environment.Broker("a", answers=False)])
    assert [finding.status for finding in doctor._broker(None)] == [outcome.NOT_REACHABLE]


def test_a_folder_nobody_needs_may_be_left_by_a_killed_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service is named by its variable: what stands in ORDERSYS_DATA_DIR is not looked at."""
    (tmp_path / state.FILE).write_text("{}", encoding="ascii")
    monkeypatch.setenv(state.DATA_DIR, str(tmp_path))
    with pytest.raises(outcome.NotRunning):
        discovery.located(NO_FLAGS, None)
    for number, peer in enumerate(PEERS, 1):
        monkeypatch.setenv(variable(peer.module), f"127.0.0.1:{number}")
    assert [peer.address.each[0].port for peer in discovery.located(NO_FLAGS, None)] == [1, 2, 3, 4]
    assert os.environ[state.DATA_DIR] == str(tmp_path)


def test_each_process_of_a_service_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that does not listen is named by its own address; a list is no wrong setting."""
    first, second, third = ports.free(3)
    for peer in PEERS:
        monkeypatch.setenv(variable(peer.module), f"127.0.0.1:{third}")
    both = f"127.0.0.1:{first},127.0.0.1:{second}"
    monkeypatch.setenv(variable("order_service"), both)
    assert not list(environment.wrong({variable("order_service"): both}))
    assert list(environment.wrong({variable("order_service"): f"{both},nowhere"}))
    arguments = argparse.Namespace(**NO_FLAGS, data_dir=None, timeout=1)
    said = [finding.text for finding in doctor._services(arguments) if finding.subject == "Order Service"]
    assert len(said) == 2
    assert f":{first} " in said[0] and f":{second} " in said[1]
