"""Identities, of this process and of its callers: certificates and tokens, from files that change while it runs."""
