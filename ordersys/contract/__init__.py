"""Reads the contract: topology, event encoding, validation, errors, documents, evolution. Pure: no I/O."""
