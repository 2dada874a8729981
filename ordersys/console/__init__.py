"""The ways that all commands share: standard output and errors, signals, and files that a person names."""
