"""The whole system with one command, and what becomes of it when that is killed."""

import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pika
import psutil
import pytest

from ordersys.local import ports, state
from ordersys.local.groups import boot
from ordersys.local.guard import Guard
from ordersys.local.rabbitmq import answers
from ordersys.local.service import Program, Service, ours
from ordersys.local.system import USUAL_PORTS, Choices, System
from tests.integration.api import Api, answered, eventually, placing
from tests.integration.conftest import quietly, skip_without_rabbitmq
from tests.integration.place import Place
from tests.running import addresses, local

METRICS = "ORDERSYS_METRICS_ADDRESS"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a system with a private broker."""
    skip_without_rabbitmq()
    return tmp_path / "system"


def processes_of(folder: Path) -> list[int]:
    """The processes with this folder in their command line or environment."""
    processes = psutil.process_iter(["cmdline", "environ"])
    return [process.pid for process in processes if str(folder) in repr(process.info)]


def test_a_hard_killed_system_leaves_no_process_and_its_folder_can_be_used_again(folder: Path) -> None:
    """kill -9 ends everything that was started; the next start finds the data again and refuses a third."""
    with local(folder) as first:
        with Api(addresses(first)) as api:
            order = api.place({"paper-a4": 1})
        first.kill()
    eventually(lambda: not processes_of(folder))
    with local(folder) as second:
        with Api(addresses(second)) as api:
            assert api.order(order.id) == order
        with local(folder) as third:
            _, said = third.communicate(timeout=60)
        assert third.returncode == 2
        assert "in use by another system" in said
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0
    assert processes_of(folder) == []


def test_two_systems_that_start_at_once_run_side_by_side(folder: Path, tmp_path: Path) -> None:
    """One has the usual ports where they are free, the other has others; a client finds each by its folder."""
    with local(folder) as first, local(tmp_path / "other") as other:
        both = [addresses(first), addresses(other)]
        assert not {*both[0].values()} & {*both[1].values()}
        for at, data_dir in zip(both, (folder, tmp_path / "other"), strict=True):
            written = json.loads((data_dir / state.FILE).read_text())
            listening = {f"ORDERSYS_{module.upper()}_ADDRESS": text for module, text in written["addresses"].items()}
            assert listening.items() <= at.items()
            ports_ = [int(text.rpartition(":")[2]) for text in listening.values()]
            assert sorted(ports_) == sorted(USUAL_PORTS.values()) or not {*ports_} & {*USUAL_PORTS.values()}


@pytest.mark.parametrize("gone", [False, True], ids=["it stays", "it is gone by then"])
@pytest.mark.parametrize("variable", ["ORDERSYS_AMQP_URL", "ORDERSYS_ORDER_SERVICE_ADDRESS", METRICS])
def test_a_port_that_is_taken_between_its_choice_and_its_use_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: Place, variable: str, gone: bool
) -> None:
    """All services get other ports, and know each other's; nobody takes the stranger for a service of ours.

    Two systems that start at once may take a port from each other and give it up again.
    """
    strangers: list[socket.socket] = []
    of_broker = variable == "ORDERSYS_AMQP_URL"

    def port() -> int:
        if variable == METRICS:
            return system.metrics["order_service"].port
        return int(system.environment[variable].removesuffix("/%2F").rpartition(":")[2])

    @contextlib.contextmanager
    def stage(name: str) -> Iterator[Callable[[str], None]]:
        if name == ("boot" if of_broker else "healthy"):
            strangers.append(socket.create_server((ports.LOOPBACK, port())))
        yield lambda word: None

    if gone:
        monkeypatch.setattr(ports, "trouble", lambda port: None)
    system = System(folder, stage, Choices(amqp_url=None if of_broker else place.url_of_guest))
    try:
        with system, Api(system.environment) as api:
            (stranger,) = strangers
            assert port() != stranger.getsockname()[1]
            order = api.place({"paper-a4": 1})
            assert api.order(order.id) == order
    finally:
        for stranger in strangers:
            stranger.close()


def test_the_metrics_of_each_process_of_ours_stand_in_the_state(
    folder: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an address of its own, whatever the shell has named; a program in the place of ours is given none."""
    monkeypatch.setenv(METRICS, f"{ports.LOOPBACK}:1")
    program = (sys.executable, "-m", "ordersys.notification_service_1")
    choices = Choices(amqp_url=place.url_of_guest, programs={"notification_service_1": program})
    with System(folder, quietly, choices) as system:
        metrics = state.running(str(folder)).metrics
        assert metrics.keys() == system.services.keys() - {"notification_service_1"}
        for address in metrics.values():
            with urllib.request.urlopen(f"http://{address}/metrics") as answer:
                assert b"ordersys_build_info" in answer.read()


def test_metrics_that_were_chosen_otherwise_are_not_in_the_state(folder: Path, place: Place) -> None:
    """A setting that is given to all services counts: none, say."""
    with System(folder, quietly, Choices(amqp_url=place.url_of_guest, settings={METRICS: "none"})):
        assert state.running(str(folder)).metrics == {}


def test_the_state_of_a_system_is_there_while_it_runs(folder: Path) -> None:
    """For its user alone; one that a killed launcher left is replaced by the next."""
    file = folder / state.FILE
    with local(folder) as first:
        addresses(first)
        assert file.stat().st_mode & 0o777 == 0o600
        assert state.addresses(str(folder))
        first.kill()
    assert file.exists()
    with pytest.raises(state.NotRunning, match="has ended without a word"):
        state.addresses(str(folder))
    with local(folder) as second:
        addresses(second)
        assert state.addresses(str(folder))
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0
    assert not file.exists()


def test_the_demo_ends_with_one_json_object_that_says_it_came_out_even(folder: Path) -> None:
    """The last line of all that is printed, after everything was stopped. With identities, as by itself."""
    command = [sys.executable, "-m", "ordersys.local", "--data-dir", str(folder), "--demo", "--json"]
    own = {name: value for name, value in os.environ.items() if name != "ORDERSYS_INSECURE"}
    done = subprocess.run(
        command, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=True
    )
    assert (folder / "identity" / "ca.pem").exists()
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ok"]
    assert (report["lost"], report["duplicated"], report["stock_conserved"]) == (0, 0, True)
    assert report["orders_created"] == report["recorded_by_notification_service_1"] > 300
    heard_by_all = report["orders_created"] + report["orders_updated"] + report["orders_rejected"]
    assert report["recorded_by_notification_service_2"] == heard_by_all
    assert processes_of(folder) == []


def test_a_service_that_dies_is_started_again(folder: Path, place: Place) -> None:
    """The launcher that stays with the running system sees to it that it goes on running."""
    with local(folder, "--amqp-url", place.url_of_guest) as process, Api(addresses(process)) as api:
        before = api.place({"paper-a4": 1})
        victims = [p for p in psutil.process_iter(["cmdline"]) if "ordersys.order_service" in repr(p.info)]
        ours = [p for p in victims if str(folder) in repr(p.environ())]
        assert len(ours) == 1
        ours[0].kill()
        request = placing({"paper-a4": 2})
        order = eventually(lambda: answered(api, request))
        assert api.order(order.id) == order
        assert api.order(before.id) == before


def start(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`python -m ordersys.local`, which can't start with what it is given."""
    return subprocess.run(
        [sys.executable, "-m", "ordersys.local", "--plain", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refused(done: "subprocess.CompletedProcess[str]", *named: str) -> None:
    """Exit status 2, and one line with all that has to be named: no stage has begun."""
    assert done.returncode == 2, done
    (said,) = done.stderr.splitlines()
    assert said.startswith("ordersys.local: ")
    for name in named:
        assert name in said
    assert "secret" not in done.stderr


def free() -> int:
    """A port nobody listens on."""
    return ports.free(1)[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--amqp-url", "http://nowhere"], "--amqp-url: must be an AMQP URL"),
        (["--amqp-url", "amqp://user:12/secret@127.0.0.1:1/%2F"], "--amqp-url: must be an AMQP URL"),
        (["--amqp-url", "amqp://user@127.0.0.1:1/%2F"], "no password"),
        (["--amqp-url", "amqp://user:secret@127.0.0.1:1/%2F?frame_max=1"], "frame_max"),
        (["--amqp-url", "amqp://user:secret@127.0.0.1:1,amqp://user:secret@127.0.0.1:x"], "number 2 of 2"),
        (["--amqp-url", "amqp://127.0.0.1:1", "--amqp-port", "5672"], "--amqp-port does nothing beside --amqp-url"),
        (["--amqp-url", "amqp://127.0.0.1:1", "--brokers", "3"], "--brokers does nothing beside --amqp-url"),
        (["--broker-only", "--demo"], "--demo does nothing beside --broker-only"),
        (["--broker-only", "--order-service-port", "1"], "--order-service-port does nothing beside --broker-only"),
        (["--json"], "--json does nothing without --demo"),
        (["--order-service-port", "70000"], "70000"),
        (["--order-service-port", "٣"], "'٣'"),
        (["--brokers", "2"], "--brokers"),
        (["--data-dir", "/dev/null/x"], "/dev/null/x"),
        (["--data-dir", "~nobody-by-that-name/x"], "home folder of '~nobody-by-that-name'"),
        (["--program", "no-service=true"], "no-service"),
        (["--program", "order-service=/no/such/program"], "/no/such/program"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_arguments_are_answered_by_one_line(arguments: list[str], named: str) -> None:
    """The thing is named, the password is not, and nothing was started."""
    assert_refused(start(*arguments), named)


def test_a_broker_nobody_answers_at_is_named_without_its_password() -> None:
    """It may come later, so that this is no wrong usage."""
    done = start("--amqp-url", "amqp://user:secret@127.0.0.1:1/%2F")
    assert done.returncode == 1
    assert "127.0.0.1:1/%2F" in done.stderr.splitlines()[-1]
    assert "secret" not in done.stderr


@pytest.mark.parametrize("option", ["--amqp-url", "--database-url"])
def test_a_url_with_a_password_may_stand_in_a_file(option: str, tmp_path: Path) -> None:
    """A list of the processes shows its name alone; one that can't be read, or holds none, is named."""
    file = tmp_path / "url"
    assert_refused(start(option, f"@{file}"), option, str(file), "No such file")
    file.write_text("http://user:secret@nowhere")
    file.chmod(0o644)
    assert_refused(start(option, f"@{file}"), option, str(file), "chmod 600")
    file.chmod(0o600)
    assert_refused(start(option, f"@{file}"), option, "must be")
    file.write_bytes(b"\xff")
    assert_refused(start(option, f"@{file}"), option, str(file))


def test_a_broker_in_a_file_is_the_one_that_is_asked(tmp_path: Path) -> None:
    """Nobody answers there, which is said without its password."""
    (tmp_path / "url").touch(0o600)
    (tmp_path / "url").write_text("amqp://user:secret@127.0.0.1:1/%2F\n")
    done = start("--amqp-url", f"@{tmp_path / 'url'}")
    assert done.returncode == 1
    assert "127.0.0.1:1/%2F" in done.stderr.splitlines()[-1]
    assert "secret" not in done.stderr


def test_a_port_somebody_listens_on_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A broker that listens there may be another system's: it would be taken over, and its messages with it."""
    with socket.create_server((ports.LOOPBACK, 0)) as somebody:
        port = str(somebody.getsockname()[1])
        for option in ("--amqp-port", "--product-service-port"):
            done = start("--data-dir", str(tmp_path / "system"), option, port)
            assert_refused(done, f"port {port} is in use")
    assert not (tmp_path / "system").exists()


def test_the_broker_of_another_system_is_left_alone(folder: Path, tmp_path: Path) -> None:
    """The first goes on as if nothing had been tried."""
    port = free()
    with local(folder, "--broker-only", "--amqp-port", str(port)) as first:
        assert addresses(first)["ORDERSYS_AMQP_URL"].endswith(f":{port}/%2F")
        assert_refused(start("--data-dir", str(tmp_path / "other"), "--amqp-port", str(port)), f"port {port} is in use")
        assert answers(port)


@pytest.mark.parametrize("other", ["--amqp-port", "--notification-service-1-port"])
def test_one_port_for_two_is_refused_before_anything_starts(tmp_path: Path, other: str) -> None:
    """The second would be judged by what the first answers."""
    port = str(free())
    done = start("--data-dir", str(tmp_path / "system"), "--order-service-port", port, other, port)
    assert_refused(done, f"port {port} is given to", "order_service")
    assert not (tmp_path / "system").exists()


def test_a_setting_that_no_service_could_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Each would end, one after the other."""
    done = start("--data-dir", str(tmp_path / "system"), ORDERSYS_PREFETCH="many")
    assert_refused(done, "ORDERSYS_PREFETCH is 'many' but must be a whole number")
    assert not (tmp_path / "system").exists()


def test_what_a_service_cant_start_with_is_its_own_line(folder: Path, tmp_path: Path) -> None:
    """As it stands in its log, which is named; not the end of the log."""
    wrong = tmp_path / "products.json"
    wrong.write_text("{}")
    done = start("--data-dir", str(folder), ORDERSYS_PRODUCTS_FILE=str(wrong))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        f"ordersys.local: product_service can't start: product-service: {wrong}"
    )
    assert processes_of(folder) == []


def test_a_service_that_cant_start_again_is_said_once(folder: Path, place: Place) -> None:
    """It is tried again all the same: what keeps it may pass, and then it runs."""
    with local(folder, "--amqp-url", place.url_of_guest) as process, Api(addresses(process)) as api:
        api.place({"paper-a4": 1})
        databases = folder / "databases"
        (databases / "something").touch()  # else the service would close it to others by itself
        databases.chmod(0o777)
        [victim] = [
            p
            for p in psutil.process_iter(["cmdline"])
            if "ordersys.order_service" in repr(p.info) and str(folder) in repr(p.environ())
        ]
        victim.kill()
        log = folder / "log" / "order_service.log"
        eventually(lambda: log.read_text().count("others may write to its folder") >= 2)
        databases.chmod(0o700)
        request = placing({"paper-a4": 2})
        eventually(lambda: answered(api, request), 60)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert said.count("order_service can't start and is tried again now and then: order-service: ") == 1


def running(folder: Path, module: str) -> psutil.Process:
    """The one process of a folder's system that runs this module."""
    processes = [p for p in psutil.process_iter(["cmdline"]) if f"ordersys.{module}" in repr(p.info)]
    (ours,) = [p for p in processes if str(folder) in repr(p.environ())]
    return ours


def test_a_service_that_cant_be_started_for_a_while_is_said_once(folder: Path, place: Place) -> None:
    """Its log can't be opened: the others run on, and it does as soon as that is mended."""
    with local(folder, "--amqp-url", place.url_of_guest) as process, Api(addresses(process)) as api:
        api.place({"paper-a4": 1})
        log = folder / "log" / "order_service.log"
        log.rename(log.with_suffix(".kept"))
        os.mkfifo(log)
        running(folder, "order_service").kill()
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(2)]
        assert "order_service ended with status -9" in said[0]
        assert said[1] == (
            f"order_service can't be started and is tried again now and then: {log} can't be used: is no regular file\n"
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)
        log.unlink()
        request = placing({"paper-a4": 2})
        eventually(lambda: answered(api, request), 60)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert rest.splitlines() == ["stopping"]
    assert processes_of(folder) == []


def test_a_guard_that_was_killed_has_a_successor(folder: Path) -> None:
    """The successor knows all that runs: a launcher that is killed then leaves nothing either."""
    with local(folder) as process, Api(addresses(process)) as api:
        (guard,) = [p for p in psutil.Process(process.pid).children() if "ordersys.local.guard" in repr(p.cmdline())]
        guard.kill()
        running(folder, "order_service").kill()
        request = placing({"paper-a4": 2})
        eventually(lambda: answered(api, request), 60)
        process.kill()
        process.wait()
        eventually(lambda: not processes_of(folder), 60)


def damage(folder: Path, ports_file: str, cookie: str | None, mode: int) -> None:
    """Leaves behind what a crash or a person may have left."""
    broker = folder / "rabbitmq"
    (broker / "ports.json").write_text(ports_file)
    own = broker / "home" / ".erlang.cookie"
    own.chmod(0o600)
    if cookie is not None:
        own.write_text(cookie)
    own.chmod(mode)
    (broker / "enabled_plugins").write_text("[rabbit")
    (broker / "rabbitmq.conf").write_text("listeners")
    (broker / ".ports.json.new").write_text("[1, ")
    of_now = boot().encode()
    lines = b"+ 1 1.5 %b", b"+ 1", b"rubbish", b"\xff", b"- x y z", b"+ 99999999 99999999999.5 %b", b"+ 1 17"
    (folder / "processes").write_bytes(b"\n".join(lines).replace(b"%b", of_now))


def test_what_is_left_over_and_can_be_made_anew_is_made_anew(folder: Path) -> None:
    """Ports, cookies and lists of processes; what was in the queues is there still."""
    with local(folder, "--broker-only") as process:
        url = addresses(process)["ORDERSYS_AMQP_URL"]
        with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare("kept", durable=True)
            channel.basic_publish("", "kept", b"x", pika.BasicProperties(delivery_mode=2))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    for ports_file, cookie, mode in (("", None, 0o644), ("[1]", "", 0o400), ('[1, "x", null]', "short", 0o600)):
        damage(folder, ports_file, cookie, mode)
        with local(folder, "--broker-only") as process:
            url = addresses(process)["ORDERSYS_AMQP_URL"]
            with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
                assert connection.channel().queue_declare("kept", passive=True).method.message_count == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    assert processes_of(folder) == []


@pytest.mark.parametrize(
    "name", ["lock", "processes", "rabbitmq/ports.json", "rabbitmq/home/.erlang.cookie", "databases"]
)
def test_what_is_left_over_and_cant_be_used_is_named(folder: Path, name: str) -> None:
    """A folder in the place of a file, or a file in the place of a folder: by its path, before anything starts."""
    odd = folder / name
    odd.parent.mkdir(parents=True)
    if name == "databases":
        odd.touch()
    else:
        odd.mkdir()
    done = start("--data-dir", str(folder), "--broker-only")
    assert done.returncode == 2, done
    assert str(odd) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert processes_of(folder) == []


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    """They could have their programs run, and read what is said with the cookie."""
    folder.mkdir()
    folder.chmod(0o770)
    assert_refused(start("--data-dir", str(folder)), str(folder), "may be written by others", "chmod go-w")


def test_a_folder_that_was_moved_or_copied_is_refused(folder: Path, tmp_path: Path) -> None:
    """Its queues would be looked for in the old place, which may be another system's by now; moved back it works."""
    with local(folder, "--broker-only") as process:
        assert addresses(process)
        process.terminate()
        assert process.wait(60) == 0
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    for odd in ("copied", "moved"):
        done = start("--data-dir", str(moved), "--broker-only")
        assert done.returncode == 2, done
        said = done.stderr.splitlines()[-1]
        assert f"{moved / 'rabbitmq'} was {folder / 'rabbitmq'} when its queues were made" in said, odd
        if odd == "copied":
            shutil.rmtree(moved)
            folder.rename(moved)
    linked = tmp_path / "link"
    linked.symlink_to(folder)
    moved.rename(folder)
    for place in (linked, folder):
        with local(place, "--broker-only") as process:
            assert addresses(process)
            process.terminate()
            assert process.wait(60) == 0
    folder.rename(moved)
    shutil.rmtree(moved / "rabbitmq")
    with local(moved, "--broker-only") as process:
        assert addresses(process)
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("sign", "'\"`{}[]*?\\")
def test_a_folder_rabbitmq_could_not_use_is_refused(tmp_path: Path, sign: str) -> None:
    """Its scripts or Erlang take the sign for something else, and messages would be gone with the next start."""
    done = start("--data-dir", str(tmp_path / f"a{sign}b"))
    assert_refused(done, f"a{sign}b can't hold a RabbitMQ, for its {sign}; name another folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [b"\xff", b"a\nb"])
def test_a_folder_erlang_could_not_read_is_refused(tmp_path: Path, name: bytes) -> None:
    """In one line that can be shown."""
    done = start("--data-dir", os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    assert_refused(done, "UTF-8")


def test_all_it_makes_is_for_its_user_alone(folder: Path) -> None:
    """Cookie, logs and data, whatever the mask of the shell."""
    before = os.umask(0)
    try:
        with local(folder, "--broker-only") as process:
            addresses(process)
    finally:
        os.umask(before)
    open_to_others = [path for path in (folder, *folder.rglob("*")) if path.lstat().st_mode & 0o077]
    assert open_to_others == []


def test_a_first_start_that_was_killed_is_begun_anew(folder: Path) -> None:
    """RabbitMQ refuses tables that are half made; one that has answered once keeps its own."""
    tables = folder / "rabbitmq" / "db" / "ordersys@localhost"
    tables.mkdir(parents=True)
    (tables / "schema.DAT").write_bytes(b"half")
    (folder / "rabbitmq" / "first-start").touch()
    with local(folder, "--broker-only") as process:
        assert addresses(process)["ORDERSYS_AMQP_URL"]
    assert not (folder / "rabbitmq" / "first-start").exists()
    (kept := tables.parent / "kept").touch()
    with local(folder, "--broker-only") as process:
        assert addresses(process)["ORDERSYS_AMQP_URL"]
    assert kept.exists()


def test_a_launcher_killed_at_any_time_leaves_a_folder_that_can_be_used(folder: Path) -> None:
    """kill -9 while it makes its files, starts its broker, or waits for it."""
    dice = random.Random(10)
    for moment in (0.4, 0.8, 1.2, 2.0, 4.0):
        with local(folder, "--broker-only") as process, contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment + dice.random() / 2)
            process.kill()
        process.kill()
        eventually(lambda: not processes_of(folder), 60)
    with local(folder, "--broker-only") as process:
        assert addresses(process)["ORDERSYS_AMQP_URL"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert processes_of(folder) == []


def test_a_program_does_nothing_before_somebody_watches_over_it(tmp_path: Path) -> None:
    """Killed between its start and the record of it, the launcher leaves nothing that runs."""
    script = (
        "import os, pathlib, signal, sys\n"
        "from ordersys.local.guard import Guard\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "Guard.watch = lambda self, pid: (print(pid, flush=True), os.kill(os.getpid(), signal.SIGKILL))\n"
        "Guard(folder).start(['/usr/bin/env', 'touch', str(folder / 'touched')], dict(os.environ), folder / 'log')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    eventually(lambda: not psutil.pid_exists(int(done.stdout)))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("variable", ["https_proxy", "http_proxy", "grpc_proxy"])
def test_a_proxy_of_the_environment_is_not_asked_about_services_of_this_machine(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would look for them on its own."""
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    address = f"{ports.LOOPBACK}:{free()}"
    environment = {
        **os.environ,
        "ORDERSYS_ORDER_SERVICE_ADDRESS": address,
        "ORDERSYS_AMQP_URL": "amqp://127.0.0.1:1",
        "ORDERSYS_DATA_DIR": str(tmp_path / "data"),
    }
    with closing(Guard(tmp_path)) as guard:
        service = Service("order_service", address, Program(ours("order_service"), environment), tmp_path, guard)
        service.start()
        service.wait_healthy()
        assert service.stop() == 0


def test_what_it_prints_can_be_pasted(folder: Path) -> None:
    """Into a shell: the settings, and the paths of logs with blanks in them."""
    spaced = folder.with_name("a b$c")
    with local(spaced, "--broker-only") as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line.strip())
            if line.startswith("Running"):
                break
        process.terminate()
        assert process.wait(60) == 0
    (row,) = [line for line in said if line.startswith("rabbitmq ")]
    *_, log = shlex.split(row)
    assert Path(log).is_file()
    (export,) = [line for line in said if line.startswith("export ")]
    done = subprocess.run(["/bin/sh", "-c", f"{export} && env"], capture_output=True, text=True, check=True)
    assert export.removeprefix("export ") in done.stdout.splitlines()


@pytest.mark.parametrize("command", ["'unbalanced", "./my program -v"])
def test_a_program_that_is_none_is_named_with_how_it_is_quoted(command: str) -> None:
    """A path with a blank in it is the usual reason."""
    done = start("--program", f"order-service={command}")
    assert_refused(done, "can't be taken apart" if command[0] == "'" else "is quoted twice, as in --program")
