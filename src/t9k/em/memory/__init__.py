"""Memory for bytes in transfer: a budget, and buffers that are used again."""
