"""The effects that are in force: begun when asked for, taken back by themselves, and told of.

A thread of the launcher's, with an event loop: it answers at the socket, passes octets on between services, sends
signals, and takes each of its actions back after a time. Whoever was killed is started again by the launcher itself.
"""

import asyncio
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from ordersys.contract.addresses import Address
from ordersys.local.breaking import socket_file
from ordersys.local.breaking.actions import (
    ACTIONS,
    BURST,
    CUT,
    DOWN_SECONDS,
    FILL,
    FILL_SECONDS,
    KILL,
    LINK,
    MEND,
    NOTHING,
    PAUSE,
    POISON,
    PROCESS,
    STATUS,
    SUBSCRIBER,
    Refused,
    Request,
    named,
    parse,
)
from ordersys.local.breaking.links import Links
from ordersys.local.breaking.load import Burst, Entrance, poison
from ordersys.local.groups import Group, kill, send
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.urls import BrokerUrls

_BACK_SECONDS = 120.0
_POLL = 0.1
_START_SECONDS, _STOP_SECONDS = 10.0, 15.0
_REMEMBERED = 50
T = TypeVar("T")
_LOG = logging.getLogger(__name__)


class Running(Protocol):
    """A process that may be killed or paused."""

    @property
    def running(self) -> bool:
        """True while it runs."""
        ...

    @property
    def group(self) -> Group | None:
        """Its process group, None where there is none."""
        ...


class Victim(NamedTuple):
    """A process, and the name by which it is started again."""

    process: Running
    supervised: str


class World(NamedTuple):
    """The system, as far as it is broken here."""

    victims: Callable[[], Mapping[str, Victim]]
    """The processes by the name they are shown with."""
    subscribers: Sequence[str]
    """Those of them that have a queue."""
    hold: Callable[[str, float], None]
    """Has a process that has ended started again after that many seconds, and not before."""
    entrance: Callable[[], Entrance]
    brokers: Callable[[], BrokerUrls]
    """As the publisher of orders knows them."""
    publisher: str
    """The user that subscribers believe; empty where they believe everybody."""


@dataclass(eq=False)
class Effect:
    """Something that is broken, until it is over (milliseconds since 1970; 0 where nobody knows)."""

    action: str
    target: str
    until: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    burst: Burst | None = None

    @property
    def state(self) -> Mapping[str, Any]:
        """The effect as the page has it."""
        progress = {} if self.burst is None else {"ended": self.burst.ended, "count": self.burst.count}
        return {"action": self.action, "target": self.target, "until": self.until, **progress}


class Breaking:
    """Breaks and mends. Not running until `start`; its methods are for the thread that starts it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links = Links()
        self._world: World | None = None
        self._effects: list[Effect] = []
        self._done: deque[Mapping[str, Any]] = deque(maxlen=_REMEMBERED)
        self._numbers = count(1)
        self._unsaid: deque[str] = deque()
        self._stopping = False
        self._stopped = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._tasks: asyncio.TaskGroup | None = None
        self._timed: set[asyncio.Task[None]] = set()
        """Those that take an action back."""
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="breaking", daemon=True)
        self._ready = threading.Event()

    def start(self) -> None:
        """Starts the thread; nothing can be broken yet."""
        self._thread.start()
        self._ready.wait(_START_SECONDS)

    def connect(self, name: str, targets: Sequence[Address]) -> Sequence[Address]:
        """Leads a link, such as order_service/rabbitmq; the addresses to use in the place of these. Raises OSError."""
        return self._in_thread(self._links.connect(name, targets))

    def open(self, world: World) -> None:
        """Answers at the socket from now on. Raises OSError."""
        self._world = world
        self._server = self._in_thread(socket_file.serve(self._folder, self._answer))

    def mend(self) -> None:
        """Mends everything, and breaks nothing any more. Links stay. Blocks for some seconds at most."""
        if self._thread.is_alive():
            self._in_thread(self._end())
        if self._server is not None:  # else whatever has that name is not ours
            (self._folder / socket_file.FILE).unlink(missing_ok=True)

    def stop(self) -> None:
        """Ends the links and the thread. Blocks for some seconds at most."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(_STOP_SECONDS)

    def said(self) -> Iterator[str]:
        """The lines about what was done since this was last called."""
        while self._unsaid:
            yield self._unsaid.popleft()

    def _in_thread(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_STOP_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            self._ready.set()
            await self._stopped.wait()
            await self._end()
        await self._links.close()

    async def _end(self) -> None:
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for effect in self._effects:
            effect.over.set()
            if effect.burst is not None:
                effect.burst.stop()
        if self._timed:
            await asyncio.wait(self._timed)

    def _begin(self, work: Coroutine[Any, Any, None], is_timed: bool = False) -> None:
        if self._tasks is not None:
            task = self._tasks.create_task(self._guarded(work))
            if is_timed:
                self._timed.add(task)
                task.add_done_callback(self._timed.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """An effect that fails ends alone: the links, which are in the same loop, carry the whole system."""
        try:
            await work
        except Exception:  # noqa: BLE001 - whatever it is
            _LOG.exception("an action has failed")
            self._note("an action has failed; the launcher's own output says why")

    async def _answer(self, line: bytes) -> Mapping[str, Any]:
        """Does what a line asks for; the state then. Raises Refused."""
        if self._world is None or self._stopping:
            raise Refused("the system is stopping", conflict=True)
        request = parse(line, self._targets(self._world))
        if request.action != STATUS:
            await self._do(self._world, request)
        return self._state(self._world)

    def _targets(self, world: World) -> Mapping[str, Sequence[str]]:
        processes = list(world.victims())
        subscribers = [name for name in processes if name in world.subscribers]
        return {PROCESS: processes, LINK: self._links.names, SUBSCRIBER: subscribers, NOTHING: [""]}

    def _state(self, world: World) -> Mapping[str, Any]:
        targets = self._targets(world)
        actions = [
            {"name": action.name, "targets": targets[action.kind], **(action.bounds._asdict() if action.bounds else {})}
            for action in ACTIONS.values()
        ]
        effects = [effect.state for effect in self._effects]
        return {"actions": actions, "effects": effects, "done": list(reversed(self._done))}

    async def _do(self, world: World, request: Request) -> None:
        action, target, amount = request
        if action == KILL:
            await self._kill(world, target)
        elif action == PAUSE:
            self._pause(world, target, amount)
        elif action == CUT:
            self._cut(target, amount)
        elif action == BURST:
            self._burst(world, amount)
        elif action == FILL:
            self._check_no_burst()
            self._pause(world, target, FILL_SECONDS)
            self._burst(world, amount)
        elif action == POISON:
            await self._poison(world)
        elif action == MEND:
            self._mend(world)

    async def _kill(self, world: World, target: str) -> None:
        victim, group = self._runs(world, target)
        self._over(PAUSE, target)
        effect = self._add(KILL, target, DOWN_SECONDS)
        world.hold(victim.supervised, DOWN_SECONDS)
        self._note(f"{named(target)} was killed (kill -9); it is started again in {DOWN_SECONDS} s")
        try:
            await asyncio.to_thread(kill, [group])
        except BaseException:
            self._effects.remove(effect)
            raise
        self._begin(self._until_back(victim, group, effect))

    async def _until_back(self, victim: Victim, group: Group, effect: Effect) -> None:
        """Waits for another process in its place: the dead one is said to run until it was reaped."""

        def is_back() -> bool:
            return victim.process.running and victim.process.group != group

        began = time.monotonic()
        until = began + _BACK_SECONDS
        # The launcher's own thread starts it, and tells nobody.
        try:
            while not (is_back() or self._stopping or time.monotonic() > until):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
        finally:
            self._effects.remove(effect)
        if is_back():
            self._note(f"{named(effect.target)} was started again after {time.monotonic() - began:.1f} s")

    def _pause(self, world: World, target: str, seconds: int) -> None:
        _, group = self._runs(world, target)
        if self._is(PAUSE, target):
            raise Refused(f"{named(target)} is paused already", conflict=True)
        send([group], signal.SIGSTOP)
        self._note(f"{named(target)} was paused (SIGSTOP) for {seconds} s")
        self._begin(
            self._until_over(self._add(PAUSE, target, seconds), seconds, lambda: self._resume(target, group)),
            is_timed=True,
        )

    def _resume(self, target: str, group: Group) -> None:
        send([group], signal.SIGCONT)
        if not self._is(KILL, target):
            self._note(f"{named(target)} goes on (SIGCONT)")

    def _cut(self, target: str, seconds: int) -> None:
        if self._is(CUT, target):
            raise Refused(f"{named(target)} is cut already", conflict=True)
        self._links.cut(target)
        self._note(f"the link {named(target)} was cut for {seconds} s")
        self._begin(
            self._until_over(self._add(CUT, target, seconds), seconds, lambda: self._connect_again(target)),
            is_timed=True,
        )

    def _connect_again(self, target: str) -> None:
        self._links.uncut(target)
        self._note(f"the link {named(target)} is there again")

    async def _until_over(self, effect: Effect, seconds: float, undo: Callable[[], None]) -> None:
        """Takes an action back after so many seconds, or as soon as it is over."""
        try:
            async with asyncio.timeout(seconds):
                await effect.over.wait()
        except TimeoutError:
            pass
        finally:
            try:
                undo()
            finally:
                self._effects.remove(effect)

    def _check_no_burst(self) -> None:
        if any(effect.burst is not None for effect in self._effects):
            raise Refused("a burst of orders is being placed already", conflict=True)

    def _burst(self, world: World, amount: int) -> None:
        self._check_no_burst()
        effect = self._add(BURST, "", 0)
        effect.burst = Burst(amount)
        self._note(f"{amount} orders are being placed")
        self._begin(self._until_placed(effect, effect.burst, world.entrance()))

    async def _until_placed(self, effect: Effect, burst: Burst, entrance: Entrance) -> None:
        trouble = ""
        try:
            await asyncio.to_thread(burst.run, entrance)
        except OSError as error:
            trouble = f"; the token can't be read: {error.strerror}"
        finally:
            self._effects.remove(effect)
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(burst.outcomes.items()))
        self._note(f"of {burst.count} orders: {outcomes or 'none'}{trouble}")

    async def _poison(self, world: World) -> None:
        try:
            exchange = await poison(world.brokers(), world.publisher)
        except BrokerUnavailable as error:
            raise Refused(f"it can't be published now: {error}", conflict=True) from error
        self._note(f"a message that nobody can read was published to {exchange}: each subscriber rejects it")

    def _mend(self, world: World) -> None:
        self._note("everything is mended")
        for effect in self._effects:
            effect.over.set()
            if effect.action == KILL:
                effect.until = _now()
        for name, victim in world.victims().items():
            if self._is(KILL, name):
                world.hold(victim.supervised, 0.0)

    def _runs(self, world: World, target: str) -> tuple[Victim, Group]:
        victim = world.victims()[target]
        group = victim.process.group
        if group is None or not victim.process.running or self._is(KILL, target):
            raise Refused(f"{named(target)} does not run at the moment", conflict=True)
        return victim, group

    def _add(self, action: str, target: str, seconds: float) -> Effect:
        effect = Effect(action, target, _now() + int(seconds * 1000) if seconds else 0)
        self._effects.append(effect)
        return effect

    def _is(self, action: str, target: str) -> bool:
        return any((effect.action, effect.target) == (action, target) for effect in self._effects)

    def _over(self, action: str, target: str) -> None:
        for effect in self._effects:
            if (effect.action, effect.target) == (action, target):
                effect.over.set()

    def _note(self, text: str) -> None:
        self._done.append({"number": next(self._numbers), "time": _now(), "text": text})
        self._unsaid.append(f"break it: {text}")


def _now() -> int:
    return int(time.time() * 1000)
