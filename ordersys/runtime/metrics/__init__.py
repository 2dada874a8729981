"""Metrics of a service: declared in one table, counted where things happen, served to Prometheus."""
