"""The contract suite: judges any implementation of the contract over the wire alone (docs/conformance.md)."""
