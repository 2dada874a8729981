"""The folder of a system: the state that is not served is named, since orders and stock in it look as if lost."""

from pathlib import Path

import pytest

from ordersys.local.database import unused_state


@pytest.mark.parametrize(
    ("there", "in_files", "unused"),
    [
        ((), True, ""),
        ((), False, ""),
        (("databases/order.db",), True, ""),
        (("databases/order.db",), False, "databases"),
        (("databases/order.lock",), False, ""),
        (("postgresql/primary/PG_VERSION",), True, "postgresql"),
        (("postgresql/primary/PG_VERSION",), False, ""),
    ],
)
def test_state_of_the_other_kind_is_named(tmp_path: Path, there: tuple[str, ...], in_files: bool, unused: str) -> None:
    """A system that was started with --postgres has none of what it had without, and the other way round."""
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert unused_state(tmp_path, in_files) == (str(tmp_path / unused) if unused else "")
