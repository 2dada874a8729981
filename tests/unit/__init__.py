"""The pure parts, and single parts on their own."""
