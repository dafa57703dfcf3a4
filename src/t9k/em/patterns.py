"""Regular expressions that only rare paths need: compiled when they are first used, so that importing the library does not pay for them."""

from __future__ import annotations

import re
from typing import Any, AnyStr, Generic, cast


def lazily(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what `re.compile` returns, as far as its methods and attributes go; nothing is compiled before one of them is asked for.

    Args:
        pattern: The regular expression.
        flags: Those of `re`.
    """
    return cast("re.Pattern[AnyStr]", _Pattern(pattern, flags))


class _Pattern(Generic[AnyStr]):
    def __init__(self, pattern: AnyStr, flags: int) -> None:
        self._pattern: AnyStr = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self._pattern, self._flags), name)
        setattr(self, name, value)  # found without this function from now on
        return value
