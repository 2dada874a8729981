"""The documents that are derived from the contract: a page for people, AsyncAPI, RabbitMQ's definitions."""
