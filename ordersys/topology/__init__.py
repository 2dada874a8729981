"""Declares the topology in a RabbitMQ, and prints who may do what there, from a command line."""
