"""S3 over plain HTTP by sockets of our own, for speed; see ADR 0009 for the reason, and for when to delete this folder."""
