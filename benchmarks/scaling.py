"""docs/scaling.md: how many processes, connections and queues a load needs, computed from the figures of a run. Pure.

A block stands between `<!-- scaling: NAME -->` and `<!-- end -->`; the prose around it is written by hand. Brought up
to date by `nox -s bench -- --write-docs`, or by `python -m benchmarks.scaling` from the latest result.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.documents import table

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
_LATEST = Path(__file__).parent / "results" / "latest.json"
_BLOCK = re.compile(r"(<!-- scaling: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
RATES = (1_000, 10_000, 100_000)
"""Orders a second."""
BUSY = 0.6
"""The share of a core, or of the highest rate measured, that is planned for: the rest is for bursts and for a loss."""
_SERVICES = ("product_service", "order_service", "notification_service_1", "notification_service_2")
_PUBLISHERS = ("product_service", "order_service")
_WAYS = {"pipeline.64": "each in a call of its own", "pipeline.64.batch16": "16 in a call"}
_LATENCIES = {"pipeline.64": "place_order.64.p50", "pipeline.64.batch16": "batch_place_orders.64.batch16.p50"}
_ALONE = "pipeline.64"
_SHARED, _MANY = "postgresql.one", "replicas.4.each"
_TAKEOVERS = ("takeover.order_service.slowest", "takeover.notification_service_1.slowest")
_CONNECTIONS = 5  # of a process: three for transactions, two for reading (docs/operations.md)


def written(page: str, document: Mapping[str, Any]) -> str:
    """The page with the figures of `document`. Raises KeyError for a block, or a figure, that is not there."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{BLOCKS[block[2]](document)}\n\n{block[3]}", page)


def median(document: Mapping[str, Any], name: str) -> float:
    """A figure of a run, in its own unit."""
    return float(document["figures"][name]["median"])


def microseconds(document: Mapping[str, Any], way: str, process: str) -> float:
    """The processor time that an order takes of a process."""
    return median(document, f"processor.{way}.{process}")


def processes(document: Mapping[str, Any], way: str, process: str, rate: int) -> int:
    """The processes of a service that `rate` orders a second need: each has a core, of which BUSY is planned for."""
    return math.ceil(rate * microseconds(document, way, process) / 1e6 / BUSY)


def parts(document: Mapping[str, Any], figure: str, rate: int) -> int:
    """The parts in which a stream of `rate` events a second has to be cut, by the highest rate that one part had."""
    return math.ceil(rate / (BUSY * median(document, figure)))


def most(document: Mapping[str, Any], way: str, process: str) -> float:
    """The orders a second at which a single process of a service is as busy as planned for."""
    return BUSY * 1e6 / microseconds(document, way, process)


def run(document: Mapping[str, Any]) -> str:
    """The run that all is computed from."""
    on = document["machine"]
    return f"Computed from the run of {document['date'][:10]}: {on['processor']}, {on['cores']} cores, SQLite."


def replicas(document: Mapping[str, Any]) -> str:
    """The cores and processes of each service, for each rate."""
    rows = []
    for way, words in _WAYS.items():
        for process in (*_SERVICES, "rabbitmq"):
            spent = microseconds(document, way, process)
            needed = [
                f"{rate * spent / 1e6:,.1f}"
                + ("" if process == "rabbitmq" else f" → {processes(document, way, process, rate):,}")
                for rate in RATES
            ]
            rows.append([words, process.replace("_", " "), f"{spent:.0f}", *needed])
    return table(["orders", "service", "µs an order", *(f"{rate:,}/s" for rate in RATES)], rows)


def walls(document: Mapping[str, Any]) -> str:
    """The highest rate of everything there is only one of, and the parts that each rate needs."""
    product, order = (most(document, _ALONE, name) for name in _PUBLISHERS)
    single = [
        ["one process of the Product Service", f"{product:,.0f} orders/s", _counts(document, "product_service")],
        ["one process of the Order Service", f"{order:,.0f} orders/s", _counts(document, "order_service")],
    ]
    streams = [
        ["one relay of the Order Service", "relay"],
        ["one active consumer of a queue", "consumer"],
        ["one quorum queue, however fast its consumer", "pika.consume"],
    ]
    rows = [
        [name, f"{BUSY * median(document, figure):,.0f} events/s", [parts(document, figure, rate) for rate in RATES]]
        for name, figure in streams
    ]
    return table(
        ["there is", "planned for at most", *(f"needed for {rate:,}/s" for rate in RATES)],
        [[str(name), str(limit), *(f"{count:,}" for count in counts)] for name, limit, counts in (*single, *rows)],
    )


def _counts(document: Mapping[str, Any], process: str) -> Sequence[int]:
    return [processes(document, _ALONE, process, rate) for rate in RATES]


def connections(document: Mapping[str, Any]) -> str:
    """Calls under way and connections to the broker, for each rate, with orders in calls of their own."""
    rows: list[list[str]] = []
    seconds = median(document, _LATENCIES[_ALONE]) / 1000
    # Little's law: as many are under way as arrive while one takes its time.
    flying = [rate * seconds for rate in RATES]
    products = [processes(document, _ALONE, "product_service", rate) for rate in RATES]
    each = [calls / count for calls, count in zip(flying, products, strict=True)]
    publishing = [sum(processes(document, _ALONE, name, rate) for name in _PUBLISHERS) for rate in RATES]
    consuming = [2 * parts(document, "consumer", rate) for rate in RATES]
    rows.append(["PlaceOrder calls under way, all", *(f"{calls:,.0f}" for calls in flying)])
    rows.append(["of these at each Product Service", *(f"{calls:,.0f}" for calls in each)])
    rows.append(["connections of publishers to RabbitMQ", *(f"{count:,}" for count in publishing)])
    rows.append(["active consumers, of both Notification Services", *(f"{count:,}" for count in consuming)])
    return table(["", *(f"{rate:,}/s" for rate in RATES)], rows)


def shared(document: Mapping[str, Any]) -> str:
    """The same on PostgreSQL: processes, cores of its server, connections to it, and what waits during a takeover."""
    if f"processor.{_SHARED}" not in document["figures"]:
        return "Not measured in this run."
    needed = {name: [shared_processes(document, name, rate) for rate in RATES] for name in _SERVICES}
    rows = [
        [
            f"processes of the {name.replace('_', ' ')}",
            f"{microseconds(document, _SHARED, name):.0f}",
            *map(_count, counts),
        ]
        for name, counts in needed.items()
    ]
    server = microseconds(document, _SHARED, "postgresql")
    rows.append(["busy cores of PostgreSQL", f"{server:.0f}", *(f"{rate * server / 1e6:,.1f}" for rate in RATES)])
    processes_of_all = [sum(counts) for counts in zip(*needed.values(), strict=True)]
    connections_of_all = [_CONNECTIONS * count for count in processes_of_all]
    rows.append(["connections to PostgreSQL", "", *map(_count, connections_of_all)])
    waiting = max(median(document, name) for name in _TAKEOVERS)
    rows.append(["events that wait when a leader has died", "", *(_count(math.ceil(rate * waiting)) for rate in RATES)])
    return table(["on PostgreSQL", "µs an order", *(f"{rate:,}/s" for rate in RATES)], rows)


def shared_processes(document: Mapping[str, Any], process: str, rate: int) -> int:
    """The processes that share a PostgreSQL; where one is too few, each costs more for having others beside it."""
    alone = rate * microseconds(document, _SHARED, process) / 1e6 / BUSY
    many = median(document, f"processor.{_MANY}.services") / median(document, "processor.replicas.1.services")
    return 1 if alone <= 1 else math.ceil(alone * max(1.0, many))


def _count(number: int) -> str:
    return f"{number:,}"


BLOCKS = {"run": run, "replicas": replicas, "walls": walls, "connections": connections, "shared": shared}


def main() -> None:
    """Writes the page from the latest result."""
    document = json.loads(_LATEST.read_text(encoding="utf-8"))
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")


if __name__ == "__main__":
    main()
