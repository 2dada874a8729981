"""Benchmarks: every goal is a ratio to a baseline of the same run on the same machine, with all guarantees on."""
