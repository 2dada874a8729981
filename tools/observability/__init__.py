"""The dashboard and the alerts in deploy/observability/, made of the table of metrics."""
