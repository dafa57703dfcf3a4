"""Numbers of array libraries and frameworks, none of which is imported for it."""

from __future__ import annotations

from typing import Any


def unwrap(value: Any) -> Any:
    """Takes the Python number out of a NumPy scalar, or out of an array or tensor of one element.

    Args:
        value: Anything.

    Returns:
        The number; a value that wraps none comes back as it is.

    Raises:
        Exception: Whatever the framework raises for something that holds more or less than one element.
    """
    if not hasattr(value, "item") and callable(getattr(value, "numpy", None)):  # a TensorFlow tensor
        value = value.numpy()
    return value.item() if callable(getattr(value, "item", None)) else value
