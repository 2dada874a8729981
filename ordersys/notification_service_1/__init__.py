"""Notification Service 1: order creations, from the fanout exchange."""
