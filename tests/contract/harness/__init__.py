"""Clients, taps, proxies and generators with which the laws of the contract are tried."""
