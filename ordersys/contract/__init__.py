"""Reads the contract: topology, event encoding, validation, errors. Pure: no I/O."""
