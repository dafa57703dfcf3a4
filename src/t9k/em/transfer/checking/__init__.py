"""Reads a store again, and says what is not as it was written."""
