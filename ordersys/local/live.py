"""The live page beside a running system: a process of its own, which needs an extra of the package."""

import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ordersys.contract.addresses import Address
from ordersys.local import ports
from ordersys.local.choices import USUAL_PORTS, CannotStart
from ordersys.local.guard import Guard
from ordersys.local.live_link import KEY, TOKEN, TRACES_KEY, TRACES_KEY_FILE, link, new_key
from ordersys.local.service import Misused, NotHealthy, Program, Service, ours
from ordersys.runtime.base.files import write_whole

_MODULE = "live"
_SECONDS = 30.0
_CHOSEN = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
"""Whoever has set one of these has chosen where spans go."""
_SDK = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_DISABLED, _DELAY = "OTEL_SDK_DISABLED", "OTEL_BSP_SCHEDULE_DELAY"
_DELAY_MILLISECONDS = "200"  # by default five seconds: who has placed an order looks sooner


def check() -> None:
    """Raises CannotStart where what the page needs is not installed."""
    if find_spec("aiohttp") is None:
        raise CannotStart(
            "--live needs aiohttp, which is not installed: pip install 'ordersys[live]', or from a clone"
            " pip install '.[live]'"
        )


def _has_sdk() -> bool:
    """True where services can send spans, and the page can read them: both are in its extra."""
    try:
        return all(find_spec(name) is not None for name in _SDK)
    except ModuleNotFoundError:
        return False


class LivePage:
    """The page, at one address with one key for as long as the system runs: a restart is a pause for who looks."""

    def __init__(self, folder: Path, environment: Mapping[str, str], guard: Guard, can_break: bool = False) -> None:
        """`environment` holds the settings by which it may look at the queues, beside what is inherited."""
        self.address = Address(ports.LOOPBACK, ports.free(1, USUAL_PORTS.values()).pop())
        # In the environment, which nobody else may read; a command line is there for every user of the machine.
        self._key, self._traces_key = new_key(), new_key()
        self._token = new_key() if can_break else ""
        self.traces_key_file = folder / TRACES_KEY_FILE
        command = (*ours(_MODULE), "--data-dir", str(folder), "--port", str(self.address.port))
        keys = {KEY: self._key, TRACES_KEY: self._traces_key, TOKEN: self._token}
        program = Program(command, {**environment, **keys})
        self.service = Service(_MODULE, str(self.address), program, folder, guard)

    @property
    def link(self) -> str:
        """The address for a browser. Whoever has it may look, and break the system where that may be done."""
        return link(self.address, self._key, self._token)

    @property
    def known(self) -> dict[str, str]:
        """The way to it for programs of this user, as the state file tells it."""
        return {"address": str(self.address), "key_file": str(self.traces_key_file)}

    def telemetry(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The variables of OpenTelemetry by which a service sends its spans to the page.

        None where `environment`, which is that of the service, says where they go, and where nothing can be sent.
        Only those of traces: a program of somebody else may send more, which the page does not take.
        """
        is_disabled = environment.get(_DISABLED, "").strip().lower() == "true"
        if is_disabled or any(environment.get(name, "").strip() for name in _CHOSEN) or not _has_sdk():
            return {}
        return {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{self.address}/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"authorization=Bearer%20{self._traces_key}",
            _DELAY: environment.get(_DELAY, "").strip() or _DELAY_MILLISECONDS,
        }

    def start(self) -> None:
        """Starts it, and returns when it listens; programs of this user find its key in a file. Raises NotHealthy."""
        write_whole(self.traces_key_file, self._traces_key)
        self.service.start()
        until = time.monotonic() + _SECONDS
        while not self.service.listens:
            if not self.service.running:
                raise Misused(f"the live page can't start: {self.service.last_line()} (log: {self.service.log})")
            if time.monotonic() > until:
                raise NotHealthy(f"the live page does not listen after {_SECONDS:.0f} s; {self.service.tail()}")
            time.sleep(0.05)
