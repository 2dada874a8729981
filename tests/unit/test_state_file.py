"""The state file of a running system: found by its folder, and trusted only while its writer runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ordersys.console.parser import UsageError
from ordersys.contract.addresses import Address, Addresses
from ordersys.grpc_client import discovery, outcome
from ordersys.grpc_client.peers import PEERS
from ordersys.local import state
from ordersys.local.groups import group_of
from ordersys.runtime.base.files import write_whole

ELSEWHERE = {peer.module: Address("127.0.0.1", 40_000 + i) for i, peer in enumerate(PEERS)}
NO_FLAGS = dict.fromkeys(ELSEWHERE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a system that runs: its process is this one."""
    write_whole(tmp_path / state.FILE, state.text(ELSEWHERE, {"order_service": group_of(os.getpid())}))
    return tmp_path


def located(data_dir: Path | None) -> dict[str, Address | Addresses]:
    """The address at which a client without flags looks for each service."""
    return {p.module: p.address for p in discovery.located(NO_FLAGS, None if data_dir is None else str(data_dir))}


def test_the_services_of_a_running_system_are_found_by_its_folder(folder: Path) -> None:
    """The file is for its user alone, and holds no URL of somebody else's broker, whose password could be in it."""
    assert located(folder) == ELSEWHERE
    file = folder / state.FILE
    assert file.stat().st_mode & 0o777 == 0o600
    content = json.loads(file.read_text())
    keys = {"pid", "started", "boot", "addresses", "processes", "rolls", "operator", "metrics", "broker", "live"}
    assert set(content) == keys
    assert content["broker"] == {}


def test_a_system_runs_on_when_the_clock_is_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of a process is told by no clock; after another start of the machine it is another process."""
    booted = psutil.boot_time()
    monkeypatch.setattr("psutil._psplatform.boot_time", lambda: booted + 3600)
    assert located(folder) == ELSEWHERE
    monkeypatch.setattr(state, "boot", lambda: "another")
    with pytest.raises(state.NotRunning, match="has ended without a word"):
        state.running(str(folder))


def test_a_service_of_several_processes_is_found_at_each(tmp_path: Path) -> None:
    """As one list; what kept processes from being restarted is read too."""
    several = Addresses((Address("127.0.0.1", 1), Address("127.0.0.1", 2)))
    write_whole(tmp_path / state.FILE, state.text({"order_service": several}, {}, ["", "it failed"]))
    assert located(tmp_path)["order_service"] == several
    assert state.running(str(tmp_path)).rolls == ["", "it failed"]


def test_the_metrics_of_each_process_are_found_by_its_name(tmp_path: Path) -> None:
    """Those of a program in the place of ours are not: nobody knows whether it has any."""
    metrics = {"order_service": Address("127.0.0.1", 3), "order_service-2": Address("127.0.0.1", 4)}
    write_whole(tmp_path / state.FILE, state.text(ELSEWHERE, {}, metrics=metrics))
    assert state.running(str(tmp_path)).metrics == metrics


def test_what_was_said_more_expressly_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag for an address before the folder's flag, that before variables, an address before a folder."""
    monkeypatch.setenv("ORDERSYS_ORDER_SERVICE_ADDRESS", "127.0.0.1:7")
    assert located(folder) == ELSEWHERE
    flagged = discovery.located({**NO_FLAGS, "order_service": Address("127.0.0.1", 8)}, str(folder))
    assert {p.module: p.address for p in flagged} == {**ELSEWHERE, "order_service": Address("127.0.0.1", 8)}
    monkeypatch.setenv("ORDERSYS_DATA_DIR", str(folder))
    assert located(None) == {**ELSEWHERE, "order_service": Address("127.0.0.1", 7)}


def test_a_folder_of_the_services_is_no_folder_of_a_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ORDERSYS_DATA_DIR is where services that were started by hand have their databases: the defaults count."""
    monkeypatch.setenv("ORDERSYS_DATA_DIR", str(tmp_path))
    assert located(None) == {peer.module: peer.address for peer in PEERS}


@pytest.mark.parametrize("left", ["lock", ""], ids=["stopped, or still starting", "not there yet"])
def test_nobody_else_is_called_in_the_place_of_a_system_that_does_not_run(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may listen at the default addresses, and would be told in clear what was meant for it.

    One who has to show a certificate of a named authority may be called, and so may one whose address is named.
    """
    folder = tmp_path / "orders"
    if left:
        folder.mkdir()
        (folder / left).touch()
    monkeypatch.setenv("ORDERSYS_DATA_DIR", str(folder))
    with pytest.raises(outcome.NotRunning, match=f"no system runs with '{folder}', or it is still starting"):
        located(None)
    assert discovery.located(ELSEWHERE, None)[0].address == next(iter(ELSEWHERE.values()))
    monkeypatch.setenv("ORDERSYS_CA_FILE", "ca.pem")
    assert located(None) == {peer.module: peer.address for peer in PEERS}


@pytest.mark.parametrize("place", [".", "orders"])
@pytest.mark.parametrize("left", ["lock", "running.json"])
def test_a_client_that_is_told_nothing_calls_nobody_beside_a_system_with_identities(
    left: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the current folder, or of one in it, running or not: its calls would go in clear to whoever listens."""
    monkeypatch.chdir(tmp_path)
    for name in ("ORDERSYS_DATA_DIR", "ORDERSYS_CA_FILE", "ORDERSYS_INSECURE"):
        monkeypatch.delenv(name, raising=False)
    (identity := tmp_path / place / "identity").mkdir(parents=True)
    (tmp_path / place / left).touch()
    assert located(None) == {peer.module: peer.address for peer in PEERS}
    (identity / "ca.pem").touch()
    for insecure in ("", "false"):
        monkeypatch.setenv("ORDERSYS_INSECURE", insecure)
        with pytest.raises(UsageError, match=f"system of '{place}' has identities: name it with --data-dir {place};"):
            located(None)
    assert discovery.located(ELSEWHERE, None)[0].address == next(iter(ELSEWHERE.values()))
    monkeypatch.setenv("ORDERSYS_INSECURE", "true")
    assert located(None) == {peer.module: peer.address for peer in PEERS}


def test_beside_a_system_that_runs_without_identities_the_usual_ports_are_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder may have had identities once."""
    monkeypatch.chdir(folder)
    (folder / "identity").mkdir()
    (folder / "identity" / "ca.pem").touch()
    assert located(None) == {peer.module: peer.address for peer in PEERS}


def written(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    """Has the file say something else."""

    def write(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return write


def replaced(make: Callable[[Path], None]) -> Callable[[Path], object]:
    """Has something else stand in the place of the file."""

    def replace(file: Path) -> None:
        file.unlink()
        make(file)

    return replace


def ended() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


UNTRUSTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "not there": (Path.unlink, "no system runs with"),
    "of a process that has ended": (written(lambda c: c.update(pid=ended())), "has ended without a word"),
    "of a process whose number is another's": (written(lambda c: c.update(started=1.0)), "has ended without a word"),
    "writable by others": (lambda file: file.chmod(0o622), "others may write it"),
    "cut off": (lambda file: file.write_text(file.read_text()[:-9]), "is damaged"),
    "of another form": (lambda file: file.write_text("[]"), "is damaged"),
    "with an address that is none": (
        written(lambda c: c.update(addresses={"order_service": "dns:///x"})),
        "is damaged",
    ),
    "endless": (replaced(lambda file: file.symlink_to("/dev/zero")), "no regular file"),
    "a pipe": (replaced(os.mkfifo), "no regular file"),
    "a number beyond all processes": (written(lambda c: c.update(pid=10**30)), "has ended without a word"),
}


@pytest.mark.parametrize("how", UNTRUSTED)
def test_a_file_that_cant_be_trusted_is_told_with_the_way_out(folder: Path, how: str) -> None:
    """In one line, which names the folder and the command that starts a system there."""
    spoil, wanted = UNTRUSTED[how]
    spoil(folder / state.FILE)
    with pytest.raises(UsageError) as wrong:
        located(folder)
    assert wanted in str(wrong.value) and str(folder) in str(wrong.value)
    assert "python -m ordersys.local --data-dir" in str(wrong.value) and "\n" not in str(wrong.value)


def test_a_folder_that_is_not_there_is_told_alike(tmp_path: Path) -> None:
    """Nothing is made."""
    with pytest.raises(UsageError, match="no system runs with"):
        located(tmp_path / "none")
    assert not (tmp_path / "none").exists()
