"""Attacks on a running system with identities, one row of docs/attacks.md each."""
