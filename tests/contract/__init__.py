"""The contract suite: judges any implementation of the contract over the wire alone (docs/conformance.md)."""

import pytest

# So that what its helpers assert shows what differs, too.
pytest.register_assert_rewrite("tests.contract.harness")
