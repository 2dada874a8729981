"""Effects, knowing no service: settings, processes, servers, the database, the broker."""
