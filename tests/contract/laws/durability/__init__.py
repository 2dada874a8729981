"""Laws of crashes: what was answered, acknowledged or is owed survives the end of a process."""
