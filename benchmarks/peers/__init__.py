"""Alternatives that people use, with the same broker, queues, messages and durability, or a note of what is weaker."""
