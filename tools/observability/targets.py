"""`python -m tools.observability.targets FOLDER`: has Prometheus find the system that runs with a folder.

Writes deploy/observability/targets.json, which prometheus-local.yaml names: a target for each process of
`python -m ordersys.local --data-dir FOLDER`. Prometheus takes it anew when it changes.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from ordersys.contract.addresses import Address
from ordersys.local import state
from ordersys.local.state import NotRunning
from tools.codegen import ROOT

FILE = Path("deploy/observability/targets.json")


def document(addresses: Mapping[str, Address]) -> str:
    """The processes for `file_sd_configs`, by the names that the state file has for them: module, or module-2."""
    groups = [{"targets": [str(at)], "labels": {"service": _service(process)}} for process, at in addresses.items()]
    return json.dumps(groups, indent=2) + "\n"


def _service(process: str) -> str:
    module, _, _ = process.partition("-")
    return module.replace("_", "-")


def main() -> None:
    """Writes the file; exits 1 with one line when no system runs with the folder."""
    parser = argparse.ArgumentParser(prog="python -m tools.observability.targets", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="the --data-dir of a running ordersys.local")
    try:
        (ROOT / FILE).write_text(document(state.running(parser.parse_args().folder).metrics), encoding="utf-8")
    except NotRunning as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
