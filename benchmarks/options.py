"""The command line of `nox -s bench`."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    quick: bool
    peers: bool
    compare: Path | None
    write_docs: bool
    only_docs: bool
    only_postgresql: bool


def options() -> Options:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s bench --",
        description="Measures the system against baselines of the same run; writes benchmarks/results.",
    )
    parser.add_argument("--quick", action="store_true", help="six minutes, not thirty: fewer and shorter rounds")
    parser.add_argument("--peers", action="store_true", help="also the alternatives people would use (S9)")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an older result: a verdict for each figure")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into performance.md and scaling.md")
    parser.add_argument(
        "--only-docs", action="store_true", help="measure nothing: pictures and docs from results/latest.json"
    )
    parser.add_argument(
        "--only-postgresql",
        action="store_true",
        help="S10 to S15 alone; their figures take the place of those in results/latest.json",
    )
    return Options(**vars(parser.parse_args()))
