"""Schedules rounds, runs them in several processes, and reports."""
