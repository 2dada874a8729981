"""What every command does in the same way: standard output and errors, signals, and files that a person names."""
