"""Tests of the fault harness: each checker finds the violation planted for it."""
