"""The contract suite: judges any implementation of the contract over the wire alone (docs/conformance.md)."""

import pytest

# So that an assertion of a helper, too, shows what differs.
pytest.register_assert_rewrite("tests.contract.harness")
