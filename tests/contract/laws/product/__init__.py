"""Laws of the Product Service: placing, changing and cancelling orders, and their sagas."""
