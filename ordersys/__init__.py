"""ordersys: a contract-first order system on gRPC and RabbitMQ."""
