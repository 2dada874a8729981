"""Tests of the contract itself: its style, its topology, and that no release breaks another."""
