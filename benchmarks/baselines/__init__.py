"""Baselines that do less on the same machine: empty calls, and RabbitMQ through bare clients."""
