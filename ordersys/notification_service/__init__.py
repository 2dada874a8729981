"""What all notification services share: the inbox, the log, and the query service."""
