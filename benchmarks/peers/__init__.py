"""What people would use instead, with the same broker, queues, messages and durability, or said to have less."""
