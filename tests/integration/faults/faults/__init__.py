"""Every fault there is, by subject."""
