"""The contract suite pointed at somebody else's service: the example that is wrong on purpose."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ordersys.local import ports
from tests.contract.harness.client import ORDER, RPCS, NotReachable
from tests.contract.harness.contact import check_services, connected_to_broker

ROOT = Path(__file__).parent.parent.parent
BROKEN = "every_rpc/a_broken_rule_is_answered_with_its_field"
KEPT = "every_rpc/garbage_is_answered_with_a_constant_text"
SURVIVES = "durability/orders_and_their_request_ids_survive_a_crash"


class Run(NamedTuple):
    """A run of the suite: its exit status, what it printed and what it reported."""

    status: int
    said: str
    report: dict[str, Any]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address the example listens on."""
    listens = f"{ports.LOOPBACK}:{ports.free(1)[0]}"
    command = [sys.executable, str(ROOT / "examples" / "tiny_order_service.py"), listens]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        yield listens
        process.terminate()


def judge(folder: Path, only: str, *options: str) -> Run:
    """Runs the suite on laws of one name."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "pytest", "tests/contract", "-m", "law", "-k", only, "--tb=no", "-rN", "-q"]
    settled = ["-p", "no:cacheprovider", "--quick", "--seed=5", "--patience=10", f"--report={report}"]
    done = subprocess.run(
        [*command, *settled, *options], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    outcomes = json.loads(report.read_text()) if report.exists() else {}
    return Run(done.returncode, done.stdout + done.stderr, outcomes)


def results(run: Run) -> dict[str, str]:
    """The result of each law that was chosen."""
    return {law["id"]: law["result"] for law in run.report["laws"] if not law["why"].startswith("left out")}


def known(folder: Path, laws: Sequence[str]) -> str:
    """The option that names laws known to fail."""
    file = folder / "known"
    file.write_text("# of ours\n" + "".join(f"{law}  # to be mended\n" for law in laws))
    return f"--known-failures={file}"


def test_a_wrong_service_is_refused_with_a_report_a_stranger_understands(tmp_path: Path, address: str) -> None:
    """Exit status 1; the law, its sentence, the calls it is broken for, and the smallest example."""
    chosen = f"test_{BROKEN.partition('/')[2]} and order-service-GetOrder"
    run = judge(tmp_path, chosen, f"--order-service={address}")
    assert run.status == 1
    assert f"BROKEN {BROKEN}" in run.said
    (law,) = [law for law in run.report["laws"] if law["id"] == BROKEN]
    assert law["result"] == "failed"
    assert law["sentence"] in run.said
    assert law["failed_cases"] == ["order-service-GetOrder"]
    assert "rule=" in law["counterexample"]
    assert run.report["judged"] == [{"role": "order-service", "kind": "address", "at": address}]
    assert run.report["summary"]["calls"]["order-service"] > 0
    assert not run.report["summary"]["ok"]


def test_a_law_known_to_fail_is_tried_and_fails_no_run(tmp_path: Path, address: str) -> None:
    """It is reported as known."""
    listed = known(tmp_path, [BROKEN])
    run = judge(tmp_path, f"test_{BROKEN.partition('/')[2]}", f"--order-service={address}", listed, "--no-shrink")
    assert run.status == 0, run.said
    assert results(run)[BROKEN] == "known"


def test_a_law_known_to_fail_that_is_kept_fails_the_run(tmp_path: Path, address: str) -> None:
    """So that the list never hides what works; a name that is no law is noticed too."""
    kept = "calls/a_request_over_the_limit_is_resource_exhausted"
    run = judge(tmp_path, "test_a_request_over", f"--order-service={address}", known(tmp_path, [kept, "no/law"]))
    assert run.status == 1
    assert f"{kept} is known to fail, and is kept" in run.said
    assert "no/law is on the list" in run.said


def test_what_is_not_named_is_not_judged_and_said_not_to_be(tmp_path: Path, address: str) -> None:
    """Laws about other services do not apply, nor do those of crashes where nobody may kill."""
    chosen = "test_the_last_unit or orders_and_their_request_ids or test_a_request_over"
    run = judge(tmp_path, chosen, f"--order-service={address}")
    assert run.status == 0
    assert results(run)["calls/a_request_over_the_limit_is_resource_exhausted"] == "passed"
    assert results(run)["concurrency/the_last_unit_is_sold_once"] == results(run)[SURVIVES] == "skipped"
    assert "durability was not judged: the suite may not kill what it judges (--restart)" in run.said
    assert run.report["durability"]["judged"] is False
    assert "no product-service is judged (--product-service): concurrency/the_last_unit_is_sold_once" in run.said


def test_laws_are_tried_in_several_processes_and_told_once(tmp_path: Path) -> None:
    """Each has a system of its own; the report has all that they tried."""
    run = judge(tmp_path, "test_a_request_over_the_limit or pages_of_products or stock_and_placements", "-n", "2")
    assert run.status == 0, run.said
    assert set(results(run).values()) == {"passed"}
    assert {law.partition("/")[0] for law in results(run)} == {"calls", "pages", "durability"}
    assert run.report["durability"]["judged"]
    assert run.said.count("the contract =") == 1
    assert run.report["summary"]["left_out"] == len(run.report["laws"]) - len(results(run))


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_program_that_does_not_start_breaks_no_law(tmp_path: Path, processes: str) -> None:
    """However many processes try laws: one line says why nothing was judged, and the run fails."""
    run = judge(tmp_path, "test_a_request_over", "--program=order-service=/bin/false", "-n", processes)
    assert run.status != 0
    assert "nothing was judged: the system did not start: ordersys.local: order_service ended with status 1" in run.said
    assert "BROKEN" not in run.said
    assert "INTERNALERROR" not in run.said
    assert not run.report.get("ok")


def test_a_service_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """A run without contact judges nothing and fails, in one line."""
    service = f"--order-service={ports.LOOPBACK}:{ports.free(1)[0]}"
    run = judge(tmp_path, "test_a_request_over", service, "--patience=1")
    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: nothing was judged: {service}: nobody can be reached there" in run.said
    assert not run.report.get("ok")


def test_another_service_at_the_address_is_named(tmp_path: Path, address: str) -> None:
    """It would break each law that asks for anything."""
    run = judge(tmp_path, "test_a_request_over", f"--product-service={address}")
    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert f"nothing was judged: --product-service={address}: an order-service listens there" in run.said


@pytest.mark.parametrize(
    "says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\0\0\x09\x01", b""], ids=["HTTP/1.1", "AMQP", "nothing"]
)
def test_who_is_no_grpc_server_is_not_waited_for(says: bytes) -> None:
    """HTTP/1.1, AMQP or silence: it will not become one."""
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        threading.Thread(target=_say, args=(server, says)).start()
        with pytest.raises(NotReachable, match="is no gRPC server"):
            check_services({"order-service": f"{ports.LOOPBACK}:{server.getsockname()[1]}"}, 5.0)


def _say(server: socket.socket, says: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(says)


def test_a_service_that_checks_nothing_carries_nothing_out_at_first_contact() -> None:
    """No service can read the request it gets then."""
    carried_out: list[Message] = []
    behaviours: dict[str, grpc.RpcMethodHandler[Message, Message]] = {
        method.name: grpc.unary_unary_rpc_method_handler(
            lambda request, _: carried_out.append(request), GetMessageClass(method.input_type).FromString
        )
        for method in RPCS[ORDER]
    }
    server = grpc.server(ThreadPoolExecutor(1))
    service = grpc.method_handlers_generic_handler(RPCS[ORDER][0].containing_service.full_name, behaviours)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port(f"{ports.LOOPBACK}:0")
    server.start()
    try:
        check_services({ORDER: f"{ports.LOOPBACK}:{port}"}, 5.0)
    finally:
        server.stop(None).wait()
    assert not carried_out


def test_an_unknown_name_is_not_waited_for() -> None:
    """It may be a slip of the pen."""
    with pytest.raises(NotReachable, match=r"--order-service=nobody\.invalid:1: the name of the host can't be found"):
        check_services({"order-service": "nobody.invalid:1"}, 60.0)


def test_a_broker_that_can_not_be_used_is_named_without_its_password() -> None:
    """With a way out."""
    with pytest.raises(NotReachable) as refused:
        connected_to_broker(f"amqp://me:secret@{ports.LOOPBACK}:{ports.free(1)[0]}/%2F")
    assert "--broker-only" in str(refused.value)
    assert ports.LOOPBACK in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("only", "why"),
    [
        ("zzzz", "no law has -k 'zzzz' in its name"),
        ("pages_of_products", "each needs more: no product-service is judged"),
    ],
    ids=["no law", "not to be judged"],
)
def test_a_run_that_would_judge_nothing_is_refused(tmp_path: Path, address: str, only: str, why: str) -> None:
    """It is no success."""
    run = judge(tmp_path, only, f"--order-service={address}")
    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert "nothing to judge: " in run.said
    assert why in run.said


def test_a_law_is_chosen_by_its_id(tmp_path: Path, address: str) -> None:
    """As the report prints it."""
    run = judge(tmp_path, "", f"--order-service={address}", f"--law={BROKEN}")
    assert results(run) == {BROKEN: "failed"}


@pytest.mark.parametrize("role", ["product-service", "order-service"])
def test_a_law_that_is_chosen_is_judged_by_itself(tmp_path: Path, role: str) -> None:
    """Also where it calls one service to judge another: that is how a broken law is tried again."""
    law = "traces/every_order_placed_in_a_batch_belongs_to_the_trace_of_the_call"
    run = judge(tmp_path, "", f"--program={role}={sys.executable} -m ordersys.{role.replace('-', '_')}", f"--law={law}")
    assert run.status == 0, run.said
    assert results(run) == {law: "passed"}


def test_a_program_that_does_not_start_is_one_error(tmp_path: Path) -> None:
    """Not a broken law after the other."""
    run = judge(tmp_path, "test_a_request_over", "--program=order-service=/bin/false")
    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert "nothing was judged: the system did not start: " in run.said
    assert "order_service" in run.said


def test_the_same_seed_finds_the_same(tmp_path: Path, address: str) -> None:
    """The counterexample of a run comes again."""
    only = "test_a_broken_rule and order-service-GetOrder"
    runs = [judge(tmp_path, only, f"--order-service={address}", "--no-shrink") for _ in range(2)]
    laws = [law for run in runs for law in run.report["laws"] if law["id"] == BROKEN]
    first, second = (law["counterexample"].partition("Draw 1")[2] for law in laws)
    assert "rule=" in first
    assert first == second


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An Order Service of ours as somebody starts it by hand, and the command that kills it and starts it again."""
    listens = f"{ports.LOOPBACK}:{ports.free(1)[0]}"
    settings = {
        "ORDERSYS_ORDER_SERVICE_ADDRESS": listens,
        "ORDERSYS_DATA_DIR": str(tmp_path / "data"),
        "ORDERSYS_AMQP_URL": f"amqp://guest:guest@{ports.LOOPBACK}:{ports.free(1)[0]}/none",
    }
    pid, start = tmp_path / "pid", tmp_path / "start"
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    program = f"{shlex.quote(sys.executable)} -m ordersys.order_service"
    start.write_text(f"{exports}{program} >>{tmp_path}/log 2>&1 &\necho $! >{pid}\n")
    restart = tmp_path / "restart"
    restart.write_text(f"kill -9 $(cat {pid}) && . {start}\n")
    subprocess.run(["/bin/sh", str(start)], cwd=ROOT, check=True)
    try:
        yield listens, f"/bin/sh {restart}"
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_service_that_was_started_by_hand_is_killed_by_its_owners_command(
    tmp_path: Path, by_hand: tuple[str, str]
) -> None:
    """Durability is judged, and the report says so."""
    listens, command = by_hand
    run = judge(tmp_path, "durability", f"--order-service={listens}", f"--restart={command}", "--patience=30")
    assert run.status == 0, run.said
    assert run.report["durability"] == {"judged": True, "why": ""}
    assert [law for law, result in results(run).items() if result == "passed"] == [SURVIVES]


def test_a_restart_that_ends_nothing_is_noticed(tmp_path: Path, address: str) -> None:
    """Else any service would survive it; it is not the service's fault either."""
    only = "orders_and_their_request_ids or test_a_request_over"
    run = judge(tmp_path, only, f"--order-service={address}", "--restart=true", "--patience=3")
    assert run.status == 1
    assert "a law was not judged: the order-service was not ended" in run.said
    assert results(run)[SURVIVES] == "skipped"


def test_a_service_in_memory_is_refused(tmp_path: Path) -> None:
    """The example keeps its orders nowhere: killed by the suite, which has started it, it has lost them."""
    program = f"{sys.executable} -m examples.tiny_order_service"
    wrapped = shlex.join(["sh", "-c", f"exec {program} $ORDERSYS_ORDER_SERVICE_ADDRESS"])
    run = judge(tmp_path, "orders_and_their_request_ids", f"--program=order-service={wrapped}", "--name=Tiny")
    assert run.status == 1, run.said
    assert results(run)[SURVIVES] == "failed"
    assert "orders[0]" in run.said, "it is found to be without the orders that it has answered"
    assert run.report["judged"][1] == {"role": "order-service", "kind": "program", "at": wrapped}
    assert "judged: Tiny: order-service, run as sh" in run.said
