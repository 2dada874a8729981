"""Breaks a running system on purpose, and mends it again: a few declared, bounded actions, never a command of others.

Only with `--break-it`, in a system that is private in every part and listens on this machine alone.
"""
