"""The demo: a scenario, told while it happens, and reconciled at the end."""
