"""Asks a service how it is, from a command line: for the health checks of containers (`python -m ordersys.health`)."""
