"""Notification Service 2: creations, updates and refusals, from the topic exchange."""
