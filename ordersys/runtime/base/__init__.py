"""Foundations: log, ids, tasks, files, backoff. No gRPC, no RabbitMQ, no database."""
