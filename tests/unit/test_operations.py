"""The commands of the operations page do what the page says."""

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from ordersys.order_service.store import OUTBOX

PAGE = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_outbox_is_looked_into_by_the_command_of_the_page(tmp_path: Path) -> None:
    """The rows that wait of an order, and why; of no other order."""
    (command,) = re.findall(r"```sh\n( +python -c .+?)\n +```", PAGE, re.DOTALL)
    with closing(sqlite3.connect(tmp_path / "order.db")) as db:
        for table in (OUTBOX.table, OUTBOX.late):
            db.execute(f"CREATE TABLE {table.name} ({', '.join(column.name for column in table.columns)})")
        db.execute("INSERT INTO outbox (event_id, subject) VALUES ('ORDER.2', 'ORDER')")
        late = [("ORDER.1", "ORDER", 3, "too large"), ("other.1", "other", 3, "too large")]
        db.executemany("INSERT INTO outbox_late (event_id, subject, attempts, reason) VALUES (?, ?, ?, ?)", late)
        db.commit()
    typed = command.replace("DATA/", f"{tmp_path}/")
    done = subprocess.run([shutil.which("sh") or "/bin/sh", "-c", typed], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["('ORDER.2', 'not tried yet')", "('ORDER.1', '3 tries; too large')"]
