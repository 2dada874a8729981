"""Everything the Product Service keeps: each operation one transaction for many calls."""
