"""What a run records by itself: output, platform and git."""

from t9k.em.capture.capture import Capture

__all__ = ["Capture"]
