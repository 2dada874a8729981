"""The command line of `nox -s bench`."""

import argparse
from collections.abc import Sequence
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
    only_secured: bool
    only_observed: bool
    secure: bool

    @property
    def whole(self) -> bool:
        """True for all measurements, and not a part of them."""
        return not (self.only_postgresql or self.only_secured or self.only_observed or self.secure)


def options(arguments: Sequence[str] | None = None) -> Options:
    """Parses these arguments; None for those of the process. Ends it where they are none."""
    parser = argparse.ArgumentParser(
        prog="nox -s bench --",
        description="Measures the system against baselines of the same run; writes benchmarks/results.",
    )
    parser.add_argument("--quick", action="store_true", help="six minutes, not thirty: fewer and shorter rounds")
    parser.add_argument("--peers", action="store_true", help="also the alternatives people would use (S9)")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an older result: a verdict for each figure")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into performance.md and scaling.md")
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        "--only-docs", action="store_true", help="measure nothing: pictures and docs from results/latest.json"
    )
    part.add_argument(
        "--only-secured",
        action="store_true",
        help="S16 alone, two minutes; its figures take the place of those in results/latest.json",
    )
    part.add_argument(
        "--only-observed",
        action="store_true",
        help="S17 alone, three minutes; its figures take the place of those in results/latest.json",
    )
    part.add_argument(
        "--only-postgresql",
        action="store_true",
        help="S10 to S15 alone; their figures take the place of those in results/latest.json",
    )
    part.add_argument(
        "--secure",
        action="store_true",
        help="S1, S2, S3, S6, S7, S8 with identities, also those of the baselines; written to results/secured.json",
    )
    wanted = Options(**vars(parser.parse_args(arguments)))
    if wanted.peers and wanted.secure:
        parser.error("argument --peers: not allowed with argument --secure: the alternatives have no identities")
    return wanted
