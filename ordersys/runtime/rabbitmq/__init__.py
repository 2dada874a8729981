"""RabbitMQ: connections, publisher confirms, consumers, topology. The only home of pika."""
