"""A newer release: `python -m …faults.environment.next_release SERVICE` runs a service with a newer schema.

The release before can work with its tables, as the contract of a rolling upgrade is (docs/operations.md, "Upgrades").
"""

import runpy
import sys
from collections.abc import Sequence

from sqlalchemy import Connection, inspect, text

from ordersys.runtime.storage.schema import Schema, Upgrade

COLUMN = "next_release"


def _add_columns(connection: Connection) -> None:
    for table in inspect(connection).get_table_names():
        connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {COLUMN} INTEGER"))


if __name__ == "__main__":
    today = Schema.__init__

    def one_more(schema: Schema, owner: str, upgrades: Sequence[Upgrade] = ()) -> None:
        """Today's tables get a column each, which only those who wrote it know."""
        today(schema, owner, (*upgrades, _add_columns), oldest=len(upgrades) + 1)

    setattr(Schema, "__init__", one_more)  # noqa: B010 - assigned, mypy would not have it
    runpy.run_module(f"ordersys.{sys.argv.pop()}", run_name="__main__", alter_sys=True)
