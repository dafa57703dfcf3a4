"""Read a store again, and say what is not as it was written."""
