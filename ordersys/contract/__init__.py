"""Reads the contract at run time: topology, event encoding, rules, errors, normalisation, pages. Pure: no I/O."""
