"""The live page: a running system to look at. It changes nothing of it, but where it was started to break it."""
