"""What a run can be: going on, or ended in one of several ways."""

from __future__ import annotations

from t9k.em.errors import InvalidInput

RUNNING, COMPLETE, FAILED, PRUNED, PREEMPTED = "Running", "Complete", "Failed", "Pruned", "Preempted"

ENDS = (COMPLETE, FAILED, PRUNED, PREEMPTED)
"""The statuses of a run that has ended."""


def check_end(status: object) -> str:
    """Return the status of a run that has ended, if it is one.

    Args:
        status: As a caller gave it.

    Raises:
        InvalidInput: The value is no such status.
    """
    if isinstance(status, str) and status in ENDS:
        return status
    import difflib  # noqa: PLC0415 - costs every importer otherwise, and errors are rare

    close = difflib.get_close_matches(str(status).capitalize(), ENDS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InvalidInput(f"status must be one of {', '.join(map(repr, ENDS))}, not {status!r}{hint}")
