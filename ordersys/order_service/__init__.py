"""The Order Service: owns orders and processes what the Product Service asks."""
