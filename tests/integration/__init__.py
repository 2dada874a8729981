"""Real processes, a real broker, over the wire."""
