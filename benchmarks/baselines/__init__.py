"""What the same machine does with less: empty calls, and RabbitMQ through pika alone."""
