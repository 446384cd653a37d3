"""Which variant is best, by how much, and whether the difference is significant."""
