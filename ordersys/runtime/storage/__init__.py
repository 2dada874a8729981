"""The database of a process: its file, its schema, its writer and readers, backup. The only home of SQL drivers."""
