"""Laws of the Order Service: the orders it keeps."""
