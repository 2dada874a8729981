"""Starts again whatever has ended by itself, with jittered backoff, and says so once."""

import time
from collections.abc import Callable
from pathlib import Path

from ordersys.local.choices import trouble
from ordersys.local.postgresql import Server
from ordersys.local.rabbitmq import Node, NotStarted
from ordersys.local.service import Service

_RESTART_PAUSE = 1.0
_MOST_PAUSE = 30.0
_SOUND_SECONDS = 60.0  # what has run for so long is started again at once

Say = Callable[[str], None]
"""Takes a line for whoever watches."""


class Supervision:
    """The memory of what has ended: when it is due again, and what was said about it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._not_before: dict[str, float] = {}
        self._pause: dict[str, float] = {}
        self._complaints: dict[str, str] = {}
        self._refusal = ""
        self._unstarted: dict[str, str] = {}

    def watch_topology(self, refusal: str, say: Say) -> None:
        """Says once why exchanges and queues can't be declared, and when they can be again."""
        if refusal != self._refusal:
            say(f"rabbitmq refuses a declaration: {refusal}" if refusal else "rabbitmq takes all declarations again")
        self._refusal = refusal

    def hold(self, name: str, seconds: float) -> None:
        """Has what was ended on purpose started again after that many seconds, and not before, however often it was."""
        self._pause.pop(name, None)
        self._not_before[name] = time.monotonic() + seconds

    def watch_node(self, node: Node, say: Say) -> None:
        """Launches a broker again that has ended; it may need others to get ready."""
        if node.deaf:
            say(f"rabbitmq runs and can't be reached; ending it (log: {node.log})")
            node.kill()
        if not node.running and self._due(node.name):
            self._start_again(node, "rabbitmq", node.relaunch, say)

    def watch_database(self, server: Server, say: Say) -> None:
        """Launches a database server again that has ended; services wait for it."""
        if not server.running and self._due(server.name):
            self._start_again(server, server.name, server.launch, say)

    def watch_service(self, name: str, service: Service, say: Say) -> bool:
        """Starts a service again that has ended; whether it was tried."""
        if service.running or not self._due(name):
            return False
        if name not in self._unstarted:
            self._tell(service, say)
        self._try(name, service.start, say)
        return True

    def _start_again(self, server: Node | Server, shown: str, start: Callable[[], None], say: Say) -> None:
        if server.name not in self._unstarted:
            say(f"{shown} ended; starting it again (log: {server.log})")
        server.kill()  # what is left of it
        self._try(server.name, start, say)

    def _try(self, name: str, start: Callable[[], None], say: Say) -> None:
        """Starts something; what keeps it from that, such as a full disk, may pass, and is said once."""
        try:
            start()
        except (OSError, NotStarted) as error:  # of a container, too, whose engine is away
            cause = trouble(error, self._folder) if isinstance(error, OSError) else str(error)
            if cause != self._unstarted.get(name):
                say(f"{name} can't be started and is tried again now and then: {cause}")
            self._unstarted[name] = cause
        else:
            self._unstarted.pop(name, None)

    def _tell(self, service: Service, say: Say) -> None:
        """Says how a service has ended; what it can't start with is said once, however often it is tried."""
        complaint = service.last_line() if service.misused else ""
        if not complaint:
            say(f"{service.name} ended with status {service.exit_status}; starting it again (log: {service.log})")
        elif complaint != self._complaints.get(service.name):
            say(f"{service.name} can't start and is tried again now and then: {complaint} (log: {service.log})")
        self._complaints[service.name] = complaint

    def _due(self, name: str) -> bool:
        """True once it may be started again. With jittered backoff: a service that can't run does not spin."""
        now = time.monotonic()
        if now < self._not_before.get(name, 0.0):
            return False
        if now > self._not_before.get(name, 0.0) + _SOUND_SECONDS:
            self._pause.pop(name, None)
        self._pause[name] = min(self._pause.get(name, _RESTART_PAUSE / 2) * 2, _MOST_PAUSE)
        self._not_before[name] = now + self._pause[name]
        return True
