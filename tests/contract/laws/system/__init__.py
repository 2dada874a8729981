"""Laws of all services together: concurrency, and any sequence of requests."""
