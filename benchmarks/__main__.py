"""`python -m benchmarks`: measures, shows, compares, writes results, pictures and docs."""

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import documents, figures, identities, loops, measurements, observed, results, scaling, terminal
from benchmarks.bench import Bench, opened
from benchmarks.chart import svg
from benchmarks.children import ChildFailed
from benchmarks.compare import compare
from benchmarks.observing import Unsound
from benchmarks.options import Options, options
from benchmarks.pictures import pictures
from benchmarks.plan import FULL, QUICK
from benchmarks.postgresql import measurements as postgresql
from ordersys.local.packages import NoRabbitMQ
from ordersys.local.postgresql import ServerNotStarted
from ordersys.local.rabbitmq import NotStarted
from ordersys.local.service import NotHealthy
from ordersys.local.system import CannotStart
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable

_FAILED = 1  # exit status of a run that could not be measured
_FAILURES = (
    Unsound,
    ChildFailed,
    CannotStart,
    NoRabbitMQ,
    NotStarted,
    ServerNotStarted,
    NotHealthy,
    BrokerUnavailable,
)
_QUIET_LOAD = 0.5  # of the last minute; above it the run begins with a warning


class CannotMeasure(Exception):
    """This machine lacks what is to be measured; the text says what, and the way out."""


def main() -> None:
    """Runs the benchmarks as the command line says; exits with 1 when a measurement is invalid."""
    signal.signal(signal.SIGTERM, _interrupt)
    wanted = options()
    before = _read(wanted.compare) if wanted.compare else None
    try:
        result = _read(results.LATEST) if wanted.only_docs else _measure(wanted)
    except (*_FAILURES, CannotMeasure) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(_FAILED)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    _publish(wanted, result, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ends the run on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _measure(wanted: Options) -> dict[str, Any]:
    plan, loop = QUICK if wanted.quick else FULL, loops.of_services()
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    more: dict[str, Any] = {
        "load_before": results.load_average(),
        "interpreter": {**results.interpreter(), "loop": loop},
    }
    if wanted.only_postgresql and (reason := postgresql.obstacle()):
        raise CannotMeasure(f"nothing of PostgreSQL can be measured: {reason}")
    sections = measurements.count(wanted)
    with terminal.Terminal(sections) as shown, opened(plan, loop, shown, wanted.secure) as bench:
        if more["load_before"] > _QUIET_LOAD:
            shown.line(f"this machine is busy (load {more['load_before']}): the figures will say little")
        facts = {"date": began, "mode": plan.mode, "load_before": more["load_before"], "machine": results.machine()}
        if wanted.secure:
            measurements.make_secured(bench)
            more["profile"] = {}
        if wanted.whole:
            more["profile"] = measurements.make_all(bench, wanted.peers)
        for name, part in [(name, part) for name, part, alone in _parts(wanted) if wanted.whole or alone]:
            part.measure(bench)
            more[name] = facts
        if wanted.whole or wanted.only_postgresql:
            more["postgresql"] = _measure_postgresql(bench, facts)
    result = results.document(plan, bench.figures, began, time.monotonic() - clock, more)
    if wanted.only_postgresql:
        result = results.merged(_read(results.LATEST), result, "postgresql", postgresql.FIGURES)
    for name, part in [(name, part) for name, part, alone in _parts(wanted) if alone]:
        result = results.merged(_read(results.LATEST), result, name, part.FIGURES)
    written = results.write_secured(result) if wanted.secure else results.write(result, began)
    print(f"written: {written}")
    return result


def _parts(wanted: Options) -> Sequence[tuple[str, Any, bool]]:
    """The measurements that can be made alone, each with the name of its facts, and whether it is."""
    return [("identities", identities, wanted.only_secured), ("observed", observed, wanted.only_observed)]


def _measure_postgresql(bench: Bench, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of its run; where there is no PostgreSQL the reason, which is also said."""
    if reason := postgresql.obstacle():
        bench.terminal.line(f"S10 to S15 are not measured: {reason}")
        return {"not_measured": reason}
    return {"version": postgresql.measure(bench), **facts}


def _publish(wanted: Options, found: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    measured = figures.read(found)
    if not wanted.secure:
        for name, picture in pictures(measured):
            (results.FOLDER / f"{name}.svg").write_text(svg(picture), encoding="utf-8")
    terminal.show({name: goal for name, goal in found.items() if name[:1] == "S"}, measured)
    if before is not None:
        same = before["machine"] == found["machine"] and before["mode"] == found["mode"]
        terminal.show_comparison(compare(figures.read(before), measured, same), str(wanted.compare))
    if wanted.write_docs or wanted.only_docs:
        _write_docs(_read(results.LATEST) if wanted.secure else found)


def _write_docs(found: Mapping[str, Any]) -> None:
    secured = _read(results.SECURED) if results.SECURED.exists() else None
    page = documents.PAGE.read_text(encoding="utf-8")
    documents.PAGE.write_text(documents.written(page, found, secured), encoding="utf-8")
    page = scaling.PAGE.read_text(encoding="utf-8")
    scaling.PAGE.write_text(scaling.written(page, found), encoding="utf-8")


if __name__ == "__main__":
    main()
