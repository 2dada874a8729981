"""Shared by all notification services: the inbox, the recorder, and the RPCs."""
