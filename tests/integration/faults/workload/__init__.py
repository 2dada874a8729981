"""Clients, good and bad, and the history of their calls."""
