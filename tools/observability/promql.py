"""Expressions of PromQL about the metrics of the table.

They have two variables, as Grafana writes them: `$job`, the job that Prometheus scrapes the services by, and
`$__rate_interval`, which is never shorter than four scrapes.
"""

from collections.abc import Mapping
from types import MappingProxyType

from ordersys.runtime.metrics.table import Metric

RATE_INTERVAL = "$__rate_interval"
JOB = "$job"
NOWHERE: Mapping[str, str] = MappingProxyType({})


def series(metric: Metric, where: Mapping[str, str] = NOWHERE, part: str = "") -> str:
    """The series of a metric with these labels; `part` is that of a histogram: _bucket, _sum or _count."""
    return selected(f"{metric.name}{part}", where)


def selected(name: str, where: Mapping[str, str] = NOWHERE) -> str:
    """The series of a name with these labels; a value that begins with `!` or `~` is one they don't have, a pattern."""
    matchers = [f'job="{JOB}"', *(_matcher(label, value) for label, value in where.items())]
    return f"{name}{{{', '.join(matchers)}}}"


def _matcher(label: str, value: str) -> str:
    operators = {"!": "!=", "~": "=~"}
    if value[:1] in operators:
        return f'{label}{operators[value[:1]]}"{value[1:]}"'
    return f'{label}="{value}"'


def total(expression: str, *by: str) -> str:
    """The sum over all processes, for each combination of these labels."""
    return f"sum by ({', '.join(by)}) ({expression})"


def rate(metric: Metric, where: Mapping[str, str] = NOWHERE, part: str = "") -> str:
    """The increase of each series a second."""
    return f"rate({series(metric, where, part)}[{RATE_INTERVAL}])"


def quantile(share: float, metric: Metric, *by: str, where: Mapping[str, str] = NOWHERE) -> str:
    """The value that this share of all observations does not exceed; no series where nothing was observed.

    Without observations Prometheus has NaN, which no comparison holds for.
    """
    return f"histogram_quantile({share:g}, {total(rate(metric, where, '_bucket'), *by, 'le')}) >= 0"


def mean(metric: Metric, *by: str, where: Mapping[str, str] = NOWHERE) -> str:
    """The mean of all observations; no series where nothing was observed."""
    parts = (total(rate(metric, where, part), *by) for part in ("_sum", "_count"))
    return f"{' / '.join(parts)} >= 0"
