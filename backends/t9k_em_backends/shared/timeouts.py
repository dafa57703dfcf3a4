"""How long every driver waits for the same things."""

from __future__ import annotations

CONNECT_TIMEOUT_S = 10.0
"""For a connection, where the URI gives no shorter time for the whole request."""
