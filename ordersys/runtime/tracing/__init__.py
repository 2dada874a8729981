"""Spans of sampled traces, and where they go. Of them only `exporting` and `reporting` know OpenTelemetry."""
