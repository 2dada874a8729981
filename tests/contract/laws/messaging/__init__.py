"""Laws of events and of the broker: publishing, topology, traces, broker faults."""
