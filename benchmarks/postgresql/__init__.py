"""Measurements of services that share a PostgreSQL, alone and in several processes."""
