"""Nothing is lost: seeded traffic against the real system, one fault after the other, and everything reckoned up."""
