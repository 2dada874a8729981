"""What it costs and how fast it is: every goal a ratio, measured in one run on one machine, guarantees beside it."""
