"""Implementations broken on purpose, each in one place: the contract suite has to catch every one of them."""
