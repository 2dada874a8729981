"""The live page: a running system to look at. It only reads."""
