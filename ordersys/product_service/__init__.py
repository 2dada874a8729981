"""The Product Service: owns products and their stock, and is the door for clients."""
