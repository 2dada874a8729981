"""A service at localhost on a machine whose list of hosts has ::1 for it, too, and whose IPv6 is off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SECONDS = 100
_MACHINE = """
import fcntl, os, pathlib, socket, struct, subprocess, sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ordersys.contract.addresses import channel_options, parse

hosts = pathlib.Path(sys.argv[1])
hosts.write_text("127.0.0.1 localhost\\n::1 localhost\\n")
subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
with socket.socket() as any_socket:  # SIOCSIFFLAGS, IFF_UP
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))
for name in ("all", "lo"):
    pathlib.Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
assert len(socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)) == 2

address = parse(os.environ["ORDERSYS_ORDER_SERVICE_ADDRESS"])
service = subprocess.Popen([sys.executable, "-m", "ordersys.order_service"], stdout=subprocess.DEVNULL)
try:
    with grpc.insecure_channel(str(address), options=channel_options(address)) as channel:
        ask = health_pb2_grpc.HealthStub(channel).Check
        answer = ask(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)
    print("answered", answer.IsInitialized())
finally:
    service.terminate()
    sys.exit(service.wait(30))
"""
_IN_ONE_OF_ITS_OWN = ["unshare", "--net", "--mount", "--propagation", "private"]


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    """Skip where nobody may make namespaces: there is no such machine to try it on."""
    try:
        subprocess.run([*_IN_ONE_OF_ITS_OWN, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs namespaces of its own: {error}")


def test_a_service_listens_on_what_there_is_of_localhost(tmp_path: Path) -> None:
    """And answers a client that asks localhost."""
    environment = {
        **os.environ,
        "ORDERSYS_AMQP_URL": "amqp://127.0.0.1:1",
        "ORDERSYS_DATA_DIR": str(tmp_path / "data"),
        "ORDERSYS_ORDER_SERVICE_ADDRESS": "localhost:50052",
    }
    program = [*_IN_ONE_OF_ITS_OWN, sys.executable, "-c", _MACHINE, str(tmp_path / "hosts")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, "answered True\n"), done.stderr
