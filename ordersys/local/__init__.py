"""The whole system on one machine: a private RabbitMQ and all services, in a folder of its own."""
