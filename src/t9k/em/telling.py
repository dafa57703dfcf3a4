"""Tells the user of what could not be done, where nothing may be raised."""

from __future__ import annotations

import contextlib
import warnings

from t9k.em.errors import IncompleteWarning


def tell(message: str, stacklevel: int = 2) -> None:
    """Warns with an `IncompleteWarning`, from any thread; where warnings are errors, nothing breaks.

    Args:
        message: What could not be done, and what to do.
        stacklevel: Whose line the warning names: 2 is the caller's, 3 that of the caller's caller, and so on.
    """
    with contextlib.suppress(IncompleteWarning):
        warnings.warn(message, IncompleteWarning, stacklevel=stacklevel)
