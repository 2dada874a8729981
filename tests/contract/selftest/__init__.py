"""Tests of the contract suite itself."""
