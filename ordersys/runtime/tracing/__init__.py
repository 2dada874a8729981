"""Spans of sampled traces, and where they go. OpenTelemetry is known to `exporting` alone."""
