"""Laws of every call: answers, errors, idempotency, pages, health."""
