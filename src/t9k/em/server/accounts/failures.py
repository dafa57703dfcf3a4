"""What a driver's error means, in the words of this library: the one place where they are translated."""

from __future__ import annotations

import os

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from t9k.em.errors import (
    BackendError,
    BackendFull,
    BackendPermissionError,
    BackendUnavailable,
    Conflict,
    EMError,
    InvalidInput,
)
from t9k.em.server.accounts.database_url import Place

_FULL = ("53100", "disk is full")
_REFUSED = ("28000", "28P01", "42501", "25006", "password authentication failed", "readonly database")
_NO_SCHEMA = ("42P01", "42703", "no such table", "no such column", "has no column")
_NO_DATABASE = ("3D000", "does not exist", "unable to open database file")
_DAMAGED = ("XX001", "XX002", "not a database", "malformed")


def translate(error: SQLAlchemyError, place: Place, *, committing: bool = False) -> EMError:
    """Return the error to raise instead of one of SQLAlchemy.

    Args:
        error: What was raised; neither statements, nor values, nor the password get into the result.
        place: The database.
        committing: Whether it came while a transaction was committed.
    """
    said = _said(error, place)
    state = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")

    def means(signs: tuple[str, ...]) -> bool:
        return state in signs or any(sign in said for sign in signs)

    if isinstance(error, IntegrityError):
        return Conflict(f"{place.text}: somebody else has written the same at the same time; try again")
    if isinstance(error, DataError):
        return unfit(place)
    if means(_FULL):
        return BackendFull(f"{place.text}: there is no space left; nothing was changed")
    if means(_NO_SCHEMA):
        return no_schema(place)
    if means(_DAMAGED):
        return BackendError(f"{place.text} is no database, or is damaged ({said}); restore it from a backup")
    if means(_REFUSED):
        return BackendPermissionError(f"{place.text} refuses ({said}); check the user and the permissions")
    if means(_NO_DATABASE):
        return missing(place, said)
    if committing:
        return BackendUnavailable(f"{place.text}: whether it was written is unknown ({said}); look, and try again")
    return BackendUnavailable(f"{place.text} cannot be used now ({said}); check that it runs, then try again")


def unfit(place: Place) -> InvalidInput:
    """Return the error for a text with NUL or half a character."""
    return InvalidInput(f"{place.text} cannot keep this text; leave out control characters and lone surrogates")


def missing(place: Place, said: str) -> EMError:
    """Return the error for a database that does not exist."""
    if place.file is None:
        return BackendUnavailable(
            f"{place.text} is not there ({said}); create the database, then run: em server migrate"
        )
    if os.path.exists(place.file):  # noqa: PTH110 - False where a directory above it may not be searched
        return BackendPermissionError(f"{place.text} cannot be opened; check who may read and write it")
    return BackendUnavailable(
        f"{place.text} is not there; make it with: em server init USER, or without a user: em server migrate"
    )


def no_schema(place: Place) -> BackendError:
    """Return the error for a database that lacks tables or columns."""
    return BackendError(f"{place.text} does not have the tables of this version; run: em server migrate")


def _said(error: SQLAlchemyError, place: Place) -> str:
    """Return the text of the driver, on one line and without the password."""
    orig = error.orig if isinstance(error, DBAPIError) else error
    lines = str(orig).strip().splitlines()
    said = lines[0] if lines else type(orig).__name__
    return said.replace(place.secret, "***") if place.secret else said
