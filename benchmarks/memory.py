"""Resident memory of the services after few orders and after many: S7.

Services are freshly started; the first reading is taken after a few orders on an empty system, the second after many
more on a system with the most orders stored. To place a million orders would take most of an hour: the plan says how
many are placed, and the growth per order in between is reported as well.
"""

from benchmarks.bench import Bench
from benchmarks.pipeline import place
from benchmarks.plan import USUAL_IN_FLIGHT
from benchmarks.systems import Measured

_READINGS = 20  # a curve has that many points
_MEGABYTE = 1e6


def measure(bench: Bench, empty: Measured, large: Measured) -> None:
    """Adds the figures of S7; restarts the services."""
    few, many = bench.plan.memory_orders
    stored = bench.plan.stored[-1]
    _settle(bench, _readings(bench, empty, few), "after_few", f"after {few:,} orders, few stored")
    readings = _readings(bench, large, many)
    _settle(bench, readings, "after_many", f"after {many:,} orders, {stored:,} stored")
    for service, points in readings.items():
        bench.figures.series[f"memory.{service}"] = points
        added = _slope([point for point in points if point[0] >= few])
        bench.figures.add(f"memory.added.{service}", added, "bytes/order", f"from {few:,} to {many:,} orders")


def _readings(bench: Bench, measured: Measured, orders: int) -> dict[str, list[tuple[float, float]]]:
    """Points of (orders processed, megabytes) along the way, by service."""
    for service in measured.system.services.values():
        service.stop()
        service.start()
    for service in measured.system.services.values():
        service.wait_healthy()
    readings: dict[str, list[tuple[float, float]]] = {}
    for number in bench.terminal.rounds(f"{orders:,} orders", _READINGS):
        place(bench, measured, USUAL_IN_FLIGHT, 600.0, orders // _READINGS)
        for service_name, resident in measured.resident_bytes().items():
            point = ((number + 1) * orders / _READINGS, resident / _MEGABYTE)
            readings.setdefault(service_name, []).append(point)
    return readings


def _settle(bench: Bench, readings: dict[str, list[tuple[float, float]]], after: str, said: str) -> None:
    """Adds the last readings as rounds of the figure."""
    for service, points in readings.items():
        for _, megabytes in points[-bench.plan.rounds :]:
            bench.figures.add(f"memory.{after}.{service}", megabytes, "MB", said)


def _slope(points: list[tuple[float, float]]) -> float:
    """Bytes an order between the first and the last of `points`."""
    (orders, megabytes), (more, more_megabytes) = points[0], points[-1]
    return _MEGABYTE * (more_megabytes - megabytes) / (more - orders) if more > orders else 0.0
