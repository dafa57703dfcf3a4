"""Join what two have made of one mapping that both knew: what one has changed is kept, and where both have, one goes before the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

MISSING: Final = object()
"""In place of a value that is not there."""

Identity = Callable[[Any], Hashable]
"""What makes two elements of a list the same one."""


def joined(
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    lists: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one mapping of two, mappings within them likewise.

    Args:
        base: What both knew.
        mine: What one has made of it; that one goes before the other.
        theirs: What the other has made of it.
        lists: Keys whose values are lists of elements that come and go one by one, with what makes two of these the same one; of a mapping
            within, a mapping of its keys.

    Returns:
        Keys in the order of `mine`, then those that only `theirs` has.
    """
    found: dict[str, Any] = {}
    for key in dict.fromkeys([*mine, *theirs]):
        known, own, other = base.get(key, MISSING), mine.get(key, MISSING), theirs.get(key, MISSING)
        value = _joined(known, own, other, None if lists is None else lists.get(key))
        if value is not MISSING:
            found[key] = value
    return found


def joined_lists(base: Sequence[Any], mine: Sequence[Any], theirs: Sequence[Any], identity: Identity) -> list[Any]:
    """Return one list of two: theirs, without what `mine` has removed, and with what it has added behind.

    Args:
        base: What both knew.
        mine: See `joined`.
        theirs: Likewise.
        identity: What makes two elements the same one.
    """
    known = {identity(element): element for element in base}
    own = {identity(element): element for element in mine}
    found: dict[Hashable, Any] = {}
    for element in theirs:
        key = identity(element)
        value = _joined(known.get(key, MISSING), own.get(key, MISSING), element, None)
        if value is not MISSING:
            found[key] = value
    for key, element in own.items():
        if key not in found and not same(known.get(key, MISSING), element):
            found[key] = element
    return list(found.values())


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same in a file: types count, and NaN is NaN."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124 - NaN alone differs from itself


def _joined(base: Any, mine: Any, theirs: Any, rule: Any) -> Any:
    if same(mine, base):
        return theirs
    if same(theirs, base):
        return mine
    if isinstance(mine, dict) and isinstance(theirs, dict):
        within = rule if isinstance(rule, Mapping) else None
        return joined(base if isinstance(base, dict) else {}, mine, theirs, within)
    if callable(rule) and isinstance(mine, list) and isinstance(theirs, list):
        return joined_lists(base if isinstance(base, list) else [], mine, theirs, rule)
    return mine
