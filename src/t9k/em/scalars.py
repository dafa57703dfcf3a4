"""Numbers of array libraries and frameworks, none of which is imported for it."""

from __future__ import annotations

import sys
from typing import Any


def unwrap(value: Any) -> Any:
    """Take the Python number out of a NumPy scalar, or out of an array or tensor of one element.

    Args:
        value: Anything.

    Returns:
        The number; a value that wraps none comes back as it is.

    Raises:
        TypeError: A date or duration, which counts in units that a number would hide, or a masked value.
        Exception: Whatever the framework raises for something that holds more or less than one element.
    """
    if is_moment(value) or is_masked(value):
        raise TypeError("dates, durations and masked values are no numbers")
    if not hasattr(value, "item") and callable(getattr(value, "numpy", None)):  # a TensorFlow tensor
        value = value.numpy()
    return value.item() if callable(getattr(value, "item", None)) else value


def is_moment(value: Any) -> bool:
    """Return whether something holds dates or durations of NumPy."""
    return getattr(getattr(value, "dtype", None), "kind", None) in ("M", "m")


def is_masked(value: Any) -> bool:
    """Return whether something is an array of NumPy of which a value is masked."""
    kind = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return kind is not None and isinstance(value, kind) and bool(value.mask.any())
