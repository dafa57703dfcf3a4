"""Python SDK of the T9k platform: its configuration here, experiments in `t9k.em`, assets in `t9k.ah`."""

from __future__ import annotations

from t9k.config import CONFIG

__all__ = ["CONFIG"]
